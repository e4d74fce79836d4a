//! `tree`: the references to an image, the references to those, and so on.

use crate::arguments::TreeArgs;
use crate::choose::shown_type;
use crate::find::{self, Found};
use crate::list::printable;
use crate::place::Place;
use cli::{Context, Failure, progress};
use client::{ExitCode, Store};
use generations::ConsumerPolicy;
use oci::{Descriptor, Digest};
use serde_json::{Value, json};
use std::collections::HashSet;

/// References of references are followed so far and no further.
const MAX_DEPTH: usize = 32;
/// How many manifests a tree may have: each is a question to the registry, whose answers may not end.
const MAX_NODES: usize = 20_000;

/// A manifest and the references to it.
struct Node {
    descriptor: Descriptor,
    from: String,
    /// Whether it was met before, so that what refers to it is shown there.
    repeated: bool,
    referrers: Vec<Node>,
}

/// Shows the tree.
///
/// # Errors
/// As [`find::find`]; not found for an image that is not there.
pub async fn run(tree: TreeArgs, policy: &ConsumerPolicy, context: &Context) -> Result<(), Failure> {
    find::must_know_references(policy)?;
    let place = Place::open(&tree.image, context).await?;
    let root = place.descriptor().await?;
    let mut known = HashSet::from([root.digest]);
    let root = Node {
        referrers: Walk {
            store: &place.store,
            policy,
            context,
        }
        .below(root.digest, 1, &mut known)
        .await?,
        descriptor: root,
        from: String::new(),
        repeated: false,
    };
    let mut text = format!("{}\n{}\n", tree.image, line(&root));
    draw(&root.referrers, "", &mut text);
    context.report(&tree.report, &text, &value(&root))
}

struct Walk<'a> {
    store: &'a Store,
    policy: &'a ConsumerPolicy,
    context: &'a Context,
}

impl Walk<'_> {
    /// The references to a manifest, each with those to itself.
    async fn below(
        &self,
        subject: Digest,
        depth: usize,
        known: &mut HashSet<Digest>,
    ) -> Result<Vec<Node>, Failure> {
        let failed = |message| Err(Failure::new(ExitCode::Failed, message));
        if depth > MAX_DEPTH {
            return failed(format!("references of references are more than {MAX_DEPTH} deep"));
        }
        let Found { entries, .. } = find::find(self.store, &subject, None, self.policy, self.context).await?;
        if known.len() + entries.len() > MAX_NODES {
            return failed(format!(
                "there are more than {MAX_NODES} references, those to {subject} among them; `consumer refs` lists those to one image"
            ));
        }
        let mut nodes = Vec::with_capacity(entries.len());
        for entry in entries {
            let digest = entry.descriptor.digest;
            let repeated = !known.insert(digest);
            let referrers = match repeated {
                true => Vec::new(),
                false => Box::pin(self.below(digest, depth + 1, known)).await?,
            };
            nodes.push(Node {
                descriptor: entry.descriptor,
                from: entry.source.to_string(),
                repeated,
                referrers,
            });
        }
        Ok(nodes)
    }
}

fn line(node: &Node) -> String {
    let descriptor = &node.descriptor;
    let shown = shown_type(descriptor);
    let parts = [
        descriptor.digest.to_string(),
        printable(shown),
        printable(&descriptor.media_type),
        progress::size(descriptor.size),
        match node.repeated {
            true => "(shown above)".to_owned(),
            false => String::new(),
        },
    ];
    let parts: Vec<&str> = parts
        .iter()
        .map(String::as_str)
        .filter(|part| !part.is_empty())
        .collect();
    parts.join("  ")
}

fn draw(nodes: &[Node], indent: &str, text: &mut String) {
    for (n, node) in nodes.iter().enumerate() {
        let (branch, further) = match n + 1 == nodes.len() {
            true => ("└── ", "    "),
            false => ("├── ", "│   "),
        };
        text.push_str(&format!("{indent}{branch}{}\n", line(node)));
        draw(&node.referrers, &format!("{indent}{further}"), text);
    }
}

fn value(node: &Node) -> Value {
    json!({
        "descriptor": node.descriptor,
        "from": node.from,
        "repeated": node.repeated,
        "referrers": node.referrers.iter().map(value).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, referrers: Vec<Node>) -> Node {
        Node {
            descriptor: Descriptor::of(name, name.as_bytes()),
            from: "referrers API".to_owned(),
            repeated: false,
            referrers,
        }
    }

    #[test]
    fn a_tree_is_drawn_with_its_branches() {
        let nodes = [node("a/1", vec![node("a/2", vec![])]), node("a/3", vec![])];
        let mut text = String::new();
        draw(&nodes, "", &mut text);
        let shapes: Vec<String> = text
            .lines()
            .map(|l| l.split("sha256").next().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(shapes, ["├── ", "│   └── ", "└── "]);
        assert!(
            text.lines().next().is_some_and(|l| l.ends_with("a/1  3 B")),
            "{text}"
        );
    }
}
