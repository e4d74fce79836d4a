//! Templates of `--format`: they end, they say the same every time, and what they take literally comes out literally.

use cli::{Template, TemplateError};
use serde_json::{Value, json};
use std::sync::LazyLock;

/// Between a template and the JSON that it is evaluated over.
const DIVIDER: &str = "\n%%\n";

static DATA: LazyLock<Value> = LazyLock::new(|| {
    json!({
        "manifest": {"schemaVersion": 2, "manifests": [], "annotations": {"a": "1", "é": "<&>"}},
        "descriptors": [{"mediaType": "text/plain", "size": 12, "digest": "sha256:aa"}, {"size": -1.5}],
        "tags": ["b", "a"],
        "config": null,
        "deep": [[[1], [true]], [{"x": [0]}]],
    })
});

/// A template, then JSON if a line `%%` divides them, else data of our own.
pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let (source, data) = text.split_once(DIVIDER).unwrap_or((text, ""));
    let given: Option<Value> = serde_json::from_str(data).ok();
    let data = given.as_ref().unwrap_or(&DATA);
    match Template::parse(source) {
        Ok(template) => evaluated(&template, source, data),
        Err(error) => placed(&error, source),
    }
    literally(source, data);
}

fn evaluated(template: &Template, source: &str, data: &Value) {
    let rendered = template.render(data);
    assert_eq!(template.render(data), rendered, "two renderings differ");
    match rendered {
        Ok(text) if !source.contains("{{") => assert_eq!(text, source),
        Ok(_) => {}
        Err(error) => placed(&error, source),
    }
}

/// The column of an error is in the template, or just behind it.
fn placed(error: &TemplateError, source: &str) {
    assert!(!error.problem.is_empty());
    assert!(
        (1..=source.chars().count() + 1).contains(&error.column),
        "{error} in {source:?}"
    );
}

/// A text in quotes is itself, and data that is printed as JSON is that data.
fn literally(text: &str, data: &Value) {
    let quoted = serde_json::to_string(text).expect("JSON");
    let render = |source: &str| Template::parse(source).and_then(|template| template.render(data));
    assert_eq!(
        render(&format!("{{{{{quoted}}}}}")).as_deref(),
        Ok(text),
        "{quoted}"
    );
    assert_eq!(
        render(&format!("{{{{printf \"%s\" {quoted}}}}}")).as_deref(),
        Ok(text)
    );
    let printed = render("{{json .}}").expect("JSON");
    assert_eq!(printed, serde_json::to_string(data).expect("JSON") + "\n");
    let pretty = render("{{jsonPretty .}}").expect("JSON");
    let joined: Value = serde_json::from_str(&pretty).expect("JSON");
    let plain: Value = serde_json::from_str(&printed).expect("JSON");
    assert_eq!(joined, plain);
}
