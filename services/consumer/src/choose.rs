//! Chooses among references by the filters of the command line.

use crate::arguments::FilterArgs;
use crate::find::Found;
use oci::Descriptor;
use oci::manifest::ANNOTATION_ARTIFACT_TYPE;

impl FilterArgs {
    /// The artifact type that a registry can filter by: one that is a media type. A plain word, such as the original
    /// tools' `misc`, stands in an annotation alone, and no registry looks there.
    pub fn sent_artifact_type(&self) -> Option<&str> {
        self.filter_artifact_type
            .as_deref()
            .filter(|text| oci::media_type::is_valid(text))
    }

    /// Keeps the references that every filter lets through.
    pub fn keep(&self, found: &mut Found) {
        found.entries.retain(|entry| self.lets_through(&entry.descriptor));
    }

    fn lets_through(&self, descriptor: &Descriptor) -> bool {
        let of_type = match (&self.filter_artifact_type, self.sent_artifact_type()) {
            (None, _) => true,
            (Some(wanted), Some(_)) => descriptor.artifact_type.as_ref() == Some(wanted),
            (Some(wanted), None) => {
                descriptor.artifact_type.as_ref() == Some(wanted)
                    || descriptor.annotation(ANNOTATION_ARTIFACT_TYPE) == Some(wanted)
            }
        };
        of_type
            && self.filter_annotation.iter().all(|(key, wanted)| {
                let value = descriptor.annotation(key);
                match wanted {
                    Some(wanted) => value == Some(wanted),
                    None => value.is_some(),
                }
            })
    }
}

/// The type to show for a reference: its artifact type, but where that only says "an image config", or nothing, the
/// annotation of the original tools.
pub fn shown_type(descriptor: &Descriptor) -> &str {
    let listed = descriptor.artifact_type.as_deref().unwrap_or_default();
    let says_nothing = listed.is_empty() || listed == oci::media_type::OCI_CONFIG;
    match descriptor.annotation(ANNOTATION_ARTIFACT_TYPE) {
        Some(annotated) if says_nothing => annotated,
        _ => listed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(artifact_type: Option<&str>, annotated: Option<&str>) -> Descriptor {
        let mut descriptor = Descriptor::of("a/b", b"x");
        descriptor.artifact_type = artifact_type.map(str::to_owned);
        descriptor.annotations =
            annotated.map(|value| [(ANNOTATION_ARTIFACT_TYPE.to_owned(), value.to_owned())].into());
        descriptor
    }

    #[test]
    fn a_word_is_looked_for_in_the_annotation_and_a_media_type_in_the_artifact_type() {
        let filter = |text: &str| FilterArgs {
            filter_artifact_type: Some(text.to_owned()),
            ..FilterArgs::default()
        };
        let by_annotation = descriptor(Some(oci::media_type::OCI_CONFIG), Some("misc"));
        let by_type = descriptor(Some("application/x.misc"), None);
        assert!(filter("misc").lets_through(&by_annotation));
        assert!(!filter("misc").lets_through(&by_type));
        assert!(filter("application/x.misc").lets_through(&by_type));
        assert!(!filter("application/x.misc").lets_through(&by_annotation));
        assert_eq!(filter("misc").sent_artifact_type(), None);
        assert_eq!(
            filter("application/x.misc").sent_artifact_type(),
            Some("application/x.misc")
        );
    }

    #[test]
    fn annotations_are_compared_by_key_and_value_or_by_key_alone() {
        let misc = descriptor(None, Some("misc"));
        for (value, through) in [(Some("misc"), true), (Some("other"), false), (None, true)] {
            let filter = FilterArgs {
                filter_annotation: vec![(ANNOTATION_ARTIFACT_TYPE.to_owned(), value.map(str::to_owned))],
                ..FilterArgs::default()
            };
            assert_eq!(filter.lets_through(&misc), through, "{value:?}");
            assert!(!filter.lets_through(&descriptor(None, None)), "{value:?}");
        }
    }

    #[test]
    fn the_shown_type_is_the_one_that_says_something() {
        assert_eq!(
            shown_type(&descriptor(Some(oci::media_type::OCI_CONFIG), Some("misc"))),
            "misc"
        );
        assert_eq!(shown_type(&descriptor(Some("a/b"), Some("misc"))), "a/b");
        assert_eq!(shown_type(&descriptor(None, None)), "");
    }
}
