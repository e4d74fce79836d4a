//! One executable, all programs: by the name that it is called by, else by its first argument.

use crate::cli::{Cli, Command, PassedOn};
use crate::{describe, desk, fixture, judge_command, links, run, scenarios};
use clap::Parser;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// A program's entry; its first argument is the program's name.
type Main = fn(Vec<OsString>) -> ExitCode;

/// The programs beside `lab` itself, by what their names are, or end with after a generation and a dash.
const PROGRAMS: [(&str, Main); 3] = [
    ("registry", registry::main_from),
    ("producer", producer::main_from),
    ("consumer", consumer::main_from),
];

/// Runs the program that the name in `arguments[0]` means: `producer`, `intermediate-producer`, …; everything else is `lab`.
pub fn main_from(arguments: Vec<OsString>) -> ExitCode {
    let name = arguments
        .first()
        .map(|name| Path::new(name).file_stem().unwrap_or_default().to_owned());
    let name = name.unwrap_or_default().to_string_lossy().into_owned();
    for (program, main) in PROGRAMS {
        if name == program || name.strip_suffix(program).is_some_and(|rest| rest.ends_with('-')) {
            return main(arguments);
        }
    }
    lab(arguments)
}

fn lab(arguments: Vec<OsString>) -> ExitCode {
    let parsed = match Cli::try_parse_from(&arguments) {
        Ok(parsed) => parsed,
        Err(error) => {
            _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    // A program that is passed on to logs at the level of its own options, and the first log that is started stays.
    let passed_on = matches!(
        parsed.command,
        Some(Command::Registry(_) | Command::Producer(_) | Command::Consumer(_))
    );
    if !passed_on {
        cli::logging::start(None);
    }
    match parsed.command {
        None => actix_rt::System::new().block_on(run::run(&parsed.run)),
        Some(Command::Run(command)) => actix_rt::System::new().block_on(run::run(&command)),
        Some(Command::Fixture { folder }) => told(fixture::write(&folder).map(|digest| {
            println!("{digest} oci:{}:{}", folder.display(), fixture::TAG);
        })),
        Some(Command::Links { folder }) => make_links(&folder),
        Some(Command::Registry(rest)) => pass_on("registry", rest),
        Some(Command::Producer(rest)) => pass_on("producer", rest),
        Some(Command::Consumer(rest)) => pass_on("consumer", rest),
        Some(Command::Judge(command)) => actix_rt::System::new().block_on(judge_command::run(&command)),
        Some(Command::Scenarios(command)) => {
            print_of(scenarios::load(command.scenarios.as_deref(), &[]).map(|loaded| describe::list(&loaded)))
        }
        Some(Command::Show(command)) => print_of(
            scenarios::load(command.scenarios.as_deref(), &[command.number])
                .map(|loaded| loaded.iter().map(describe::tell).collect()),
        ),
        Some(Command::Registries(command)) => actix_rt::System::new().block_on(desk::run(&command)),
        Some(Command::Healthcheck { address }) => {
            actix_rt::System::new().block_on(desk::healthcheck(&address))
        }
    }
}

fn pass_on(name: &str, rest: PassedOn) -> ExitCode {
    let Some((_, main)) = PROGRAMS.into_iter().find(|(program, _)| *program == name) else {
        return ExitCode::FAILURE;
    };
    main(
        std::iter::once(OsString::from(name))
            .chain(rest.arguments)
            .collect(),
    )
}

fn make_links(folder: &Path) -> ExitCode {
    let executable = match std::env::current_exe() {
        Ok(executable) => executable,
        Err(error) => return told(Err::<(), _>(error)),
    };
    told(links::make(folder, &executable).map(|made| {
        for path in made {
            println!("{}", path.display());
        }
    }))
}

/// Prints a text about scenario files, or what is wrong with them.
fn print_of(text: Result<String, scenario::FileError>) -> ExitCode {
    match text {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("lab: {error}");
            ExitCode::from(2)
        }
    }
}

fn told<E: std::fmt::Display>(result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab: {error}");
            ExitCode::FAILURE
        }
    }
}
