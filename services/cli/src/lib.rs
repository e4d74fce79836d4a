//! What the command-line tools share: global options, output, logging, progress, and the templates of `--format`.

pub mod template;

pub use template::{Template, TemplateError};
