//! `index.json` of a layout: read, and replaced whole under a lock.

use super::{Layout, MARKER};
use crate::{Error, Result, files};
use oci::{Descriptor, Tag, manifest::ANNOTATION_REF_NAME};
use serde::Deserialize;
use serde_json::{Value, json};
use std::fs;

/// The file's name.
pub(super) const FILE: &str = "index.json";
/// A layout without images.
pub(super) const EMPTY: &str =
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;

/// The content of `index.json`.
pub(super) struct LayoutIndex(Value);

impl LayoutIndex {
    fn entries(&self) -> &[Value] {
        self.0
            .get("manifests")
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice)
    }

    /// Its entries that can be read.
    pub(super) fn descriptors(&self) -> Vec<Descriptor> {
        let entries = self.entries().iter();
        entries
            .filter_map(|entry| Descriptor::deserialize(entry).ok())
            .collect()
    }

    pub(super) fn tagged(&self, tag: &str) -> Option<Descriptor> {
        // The last one wins, where a tool left several.
        let entry = self
            .entries()
            .iter()
            .rev()
            .find(|entry| ref_name(entry) == Some(tag))?;
        Descriptor::deserialize(entry).ok()
    }

    /// The only image, if there is but one; digest tags are not counted.
    pub(super) fn only(&self) -> Option<Descriptor> {
        let images = self
            .entries()
            .iter()
            .filter(|entry| ref_name(entry).is_none_or(|name| oci::digest_tag::parse(name).is_none()));
        let mut images = images.filter_map(|entry| Descriptor::deserialize(entry).ok());
        let first = images.next()?;
        images.all(|other| other.digest == first.digest).then_some(first)
    }

    pub(super) fn tags(&self) -> Vec<String> {
        self.entries()
            .iter()
            .filter_map(ref_name)
            .map(str::to_owned)
            .collect()
    }

    fn name(&mut self, descriptor: &Descriptor, tag: Option<&Tag>) {
        let mut entry = descriptor.clone();
        if let Some(tag) = tag {
            let annotations = entry.annotations.get_or_insert_default();
            annotations.insert(ANNOTATION_REF_NAME.to_owned(), tag.to_string());
        }
        let digest = descriptor.digest.to_string();
        let is_listed = |e: &Value| e.get("digest").and_then(Value::as_str) == Some(&digest);
        let mut entries = self.entries().to_vec();
        match tag {
            Some(tag) => entries.retain(|e| ref_name(e) != Some(tag.as_str())),
            None if entries.iter().any(is_listed) => return,
            None => {}
        }
        entries.push(json!(entry));
        if let Value::Object(fields) = &mut self.0 {
            fields.insert("manifests".to_owned(), Value::Array(entries));
        }
    }
}

fn ref_name(entry: &Value) -> Option<&str> {
    entry.get("annotations")?.get(ANNOTATION_REF_NAME)?.as_str()
}

impl Layout {
    pub(super) fn index(&self) -> Result<LayoutIndex> {
        let text = self.document(FILE)?;
        let index: Value = serde_json::from_slice(&text).map_err(|e| self.problem(format!("{FILE}: {e}")))?;
        match index.get("manifests") {
            Some(Value::Array(_) | Value::Null) | None if index.is_object() => Ok(LayoutIndex(index)),
            _ => Err(self.problem(format!("{FILE} is not an image index"))),
        }
    }

    pub(super) fn tagged(&self, tag: &Tag) -> Result<Option<Descriptor>> {
        Ok(self.index()?.tagged(tag.as_str()))
    }

    /// Lists a manifest in `index.json`, under a tag if there is one.
    ///
    /// # Errors
    /// `Layout`, `Io`.
    pub fn name(&self, descriptor: &Descriptor, tag: Option<&Tag>) -> Result<()> {
        // Another process may write to this layout: the marker's lock is held from the read to the write.
        let folder = self.folder()?;
        let marker = folder.join(MARKER);
        let lock = fs::File::open(&marker).map_err(Error::io("open", &marker))?;
        lock.lock().map_err(Error::io("lock", &marker))?;
        let mut index = self.index()?;
        index.name(descriptor, tag);
        files::write_atomically(&folder.join(FILE), index.0.to_string().as_bytes())
    }
}
