//! `registry set`, which both tools have: how to reach a registry, kept in the configuration file.

use crate::{Context, Failure};
use clap::{Args, Subcommand, ValueEnum};
use client::{Settings, Tls};

/// Commands about registries rather than images.
#[derive(Clone, Debug, Subcommand)]
pub enum RegistryCommand {
    /// Set how a registry is reached, for this and every later command
    #[command(after_help = "Example:\n  TOOL registry set --tls disabled localhost:5001")]
    Set(RegistrySet),
}

/// What to set.
#[derive(Clone, Debug, Args)]
pub struct RegistrySet {
    /// https with a checked certificate (enabled), with any certificate (insecure), or plain http (disabled)
    #[arg(long, value_name = "MODE", required_unless_present = "hostname")]
    tls: Option<TlsMode>,
    /// HOST or HOST:PORT to connect to in its place; empty: the name as written again
    #[arg(long, value_name = "HOST")]
    hostname: Option<String>,
    /// The registry as references write it, such as localhost:5001
    host: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TlsMode {
    Enabled,
    Insecure,
    Disabled,
}

impl RegistryCommand {
    /// Changes the configuration file.
    ///
    /// # Errors
    /// A usage failure for a host that is none or a configuration file that is wrong; a failure to write it.
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let RegistryCommand::Set(set) = self;
        let path = Settings::path().ok_or_else(|| {
            Failure::usage("there is no folder for configuration here: set REFERRERS_LAB_CONFIG to a file")
        })?;
        let mut settings = Settings::load_from(&path)?;
        let tls = set.tls.map(|mode| match mode {
            TlsMode::Enabled => Tls::Enabled,
            TlsMode::Insecure => Tls::Insecure,
            TlsMode::Disabled => Tls::Disabled,
        });
        settings.set(&set.host, tls, set.hostname.as_deref())?;
        settings.save_to(&path)?;
        context
            .output
            .note(&format!("{} is set in {}", set.host, path.display()));
        Ok(())
    }
}
