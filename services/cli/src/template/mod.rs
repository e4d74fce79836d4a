//! A small evaluator of Go's `text/template`, as far as `--format` needs it.
//!
//! Understood: text, fields (`.Manifest.Annotations`), variables, pipelines, parentheses, literals, comments, trim markers,
//! `if`, `else if`, `else`, `range` (with `break` and `continue`), `with`, `end`, and the functions of [`functions::TABLE`].
//! Left out, and refused by name: `define`, `block`, `template`, method calls, and regctl's functions that read the
//! environment or files. Data is JSON; a field is found by its JSON name or, as in Go, by that name with a capital.

mod eval;
pub mod functions;
mod lex;
mod parse;
mod printf;

use serde_json::Value;

/// What is wrong with a template, or with the data that it was given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--format, column {column}: {problem}")]
pub struct TemplateError {
    /// Where, counted in characters from 1.
    pub column: usize,
    /// What, with what was expected.
    pub problem: String,
}

/// A template that was read and holds together; functions and their names are known to exist.
#[derive(Clone, Debug)]
pub struct Template {
    source: String,
    nodes: Vec<parse::Node>,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// [`TemplateError`] for the first thing that is malformed or not supported.
    ///
    /// ```
    /// # fn main() -> Result<(), cli::TemplateError> {
    /// let template = cli::Template::parse("{{range .Tags}}{{.}} {{end}}")?;
    /// let tags = serde_json::json!({"tags": ["a", "b"]});
    /// assert_eq!(template.render(&tags)?, "a b ");
    /// # Ok(()) }
    /// ```
    pub fn parse(source: &str) -> Result<Template, TemplateError> {
        let nodes = lex::lex(source)
            .and_then(parse::parse)
            .map_err(|fault| fault.in_source(source))?;
        Ok(Template {
            source: source.to_owned(),
            nodes,
        })
    }

    /// Evaluates it with `data` as the dot.
    ///
    /// # Errors
    /// [`TemplateError`] for a field that the data has not, or a function that cannot take its arguments.
    pub fn render(&self, data: &Value) -> Result<String, TemplateError> {
        eval::render(&self.nodes, data).map_err(|fault| fault.in_source(&self.source))
    }
}

/// A [`TemplateError`] before the offset in bytes was counted in characters.
#[derive(Debug)]
struct Fault {
    offset: usize,
    problem: String,
}

impl Fault {
    fn new(offset: usize, problem: impl Into<String>) -> Fault {
        Fault {
            offset,
            problem: problem.into(),
        }
    }

    fn in_source(self, source: &str) -> TemplateError {
        let before = source.get(..self.offset).unwrap_or(source);
        TemplateError {
            column: before.chars().count() + 1,
            problem: self.problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn render(template: &str) -> Result<String, TemplateError> {
        let data = json!({
            "manifest": {"schemaVersion": 2, "manifests": [], "x": "<&>"},
            "descriptors": [
                {"mediaType": "text/plain", "digest": "sha256:aa", "size": 12, "annotations": {"org.example/a": "1"}},
                {"mediaType": "text/html", "digest": "sha256:bb", "size": 3, "artifactType": "misc"}
            ],
            "tags": ["b", "a"],
            "annotations": {"k2": "v2", "k1": "v1"},
            "empty": [],
        });
        Template::parse(template)?.render(&data)
    }

    #[test]
    fn templates_render_as_go_renders_them() {
        for (template, expected) in [
            ("plain {text} }", "plain {text} }"),
            (
                "{{ jsonPretty .Manifest}}",
                "{\n  \"schemaVersion\": 2,\n  \"manifests\": [],\n  \"x\": \"<&>\"\n}\n",
            ),
            ("{{json .Tags}}", "[\"b\",\"a\"]\n"),
            ("{{.Manifest.SchemaVersion}}", "2"),
            ("{{.manifest.schemaVersion}}", "2"),
            (
                "{{range .Descriptors}}{{.Digest}}={{.Size}} {{end}}",
                "sha256:aa=12 sha256:bb=3 ",
            ),
            ("{{range .Descriptors}}[{{.ArtifactType}}]{{end}}", "[][misc]"),
            (
                "{{range $i, $d := .Descriptors}}{{$i}}:{{$d.MediaType}};{{end}}",
                "0:text/plain;1:text/html;",
            ),
            (
                "{{range $k, $v := .Annotations}}{{$k}}={{$v}},{{end}}",
                "k1=v1,k2=v2,",
            ),
            ("{{range .Empty}}x{{else}}none{{end}}", "none"),
            ("{{if .Empty}}x{{else if .Tags}}tags{{else}}y{{end}}", "tags"),
            ("{{with .Tags}}{{len .}}{{end}}", "2"),
            ("{{with .Empty}}x{{else}}no{{end}}", "no"),
            ("{{index .Annotations \"k1\"}} {{index .Tags 1}}", "v1 a"),
            (
                "{{index (index .Descriptors 0).Annotations \"org.example/a\"}}",
                "1",
            ),
            (
                "{{printf \"%s-%05d-%q-%v-%-4s|%x\" \"a\" 42 \"b\" true \"c\" 255}}",
                "a-00042-\"b\"-true-c   |ff",
            ),
            ("{{.Tags | join \",\"}}", "b,a"),
            ("{{join .Tags \",\"}}", "b,a"),
            ("{{\"AbC\" | lower}} {{upper `x\\n`}}", "abc X\\N"),
            ("a  {{- 1 -}}  b", "a1b"),
            ("{{/* nothing */}}x{{- /* y */ -}} z", "xz"),
            ("{{$x := 3}}{{$x = 4}}{{$x}}", "4"),
            ("{{if and (eq (len .Tags) 2) (not .Empty)}}yes{{end}}", "yes"),
            ("{{if or .Empty (gt 3 2)}}yes{{end}}", "yes"),
            (
                "{{range .Tags}}{{if eq . \"a\"}}{{break}}{{end}}{{.}}{{end}}",
                "b",
            ),
            (
                "{{range .Tags}}{{if eq . \"b\"}}{{continue}}{{end}}{{.}}{{end}}",
                "a",
            ),
            ("{{.Tags}} {{.Annotations}}", "[b a] map[k1:v1 k2:v2]"),
            ("{{range .Descriptors}}{{$.Tags}}{{end}}", "[b a][b a]"),
            ("{{default \"none\" .Empty}}", "none"),
            ("{{range split \"a,b\" \",\"}}<{{.}}>{{end}}", "<a><b>"),
            ("{{println 1 \"x\"}}", "1 x\n"),
            ("{{(index .Descriptors 1).Size}}", "3"),
            ("{{eq 1 2 3 1}}", "true"),
            (
                r#"{{"\a\b\f\v\x41\u00e9\U0001F331"}}"#,
                "\u{7}\u{8}\u{c}\u{b}A\u{e9}\u{1f331}",
            ),
            ("{{ 'a' }}{{ -4 }}{{ 0x10 }}{{ 1.5 }}", "97-4161.5"),
        ] {
            assert_eq!(render(template).as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn what_is_wrong_or_unsupported_is_named_with_its_column() {
        for (template, column, part) in [
            ("é{{", 2, "is not closed"),
            ("{{.Digset}}", 3, "no field \"Digset\""),
            ("{{range .Tags}}x", 1, "has no {{end}}"),
            ("{{end}}", 3, "without"),
            ("{{foo .}}", 3, "function \"foo\" is not supported"),
            ("{{env \"HOME\"}}", 3, "function \"env\" is not supported"),
            ("{{define \"x\"}}{{end}}", 3, "\"define\" is not supported"),
            ("{{template \"x\"}}", 3, "\"template\" is not supported"),
            ("{{\"open}}", 3, "string is not closed"),
            (r#"{{"\u+041"}}"#, 4, "is not a character"),
            ("{{$y}}", 3, "variable $y"),
            ("{{index .Tags 9}}", 3, "9"),
            ("{{printf \"%d\" \"x\"}}", 3, "%d"),
            ("{{printf \"%s\"}}", 3, "argument"),
            ("{{.Manifest.GetDescriptor 1}}", 3, "cannot be called"),
            ("{{lt 1 \"a\"}}", 3, "compare"),
            ("{{}}", 3, "nothing"),
            ("{{break}}", 3, "outside"),
            ("{{1 | }}", 5, "nothing"),
            ("{{.Tags.X}}", 3, "list"),
            ("{{range 5}}{{end}}", 9, "range"),
        ] {
            let error = render(template).expect_err(template);
            assert!(error.problem.contains(part), "{template}: {error}");
            assert_eq!(error.column, column, "{template}: {error}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_rather_than_overflowing_the_stack() {
        let deep = format!("{{{{{}1{}}}}}", "(".repeat(10_000), ")".repeat(10_000));
        assert!(render(&deep).expect_err("too deep").problem.contains("nested"));
        let deep = "{{if 1}}".repeat(10_000);
        assert!(render(&deep).expect_err("too deep").problem.contains("nested"));
    }
}
