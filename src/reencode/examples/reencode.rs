//! A dataset from standard input, in one native transfer syntax, written to standard output in another: `reencode FROM TO < dataset > dataset`.
//! Exit code 1: it cannot be, for the reason on standard error.

use std::io::{Read, Write};
use std::process::ExitCode;

use tidegate_reencode::Reencoder;

fn run(from: &str, to: &str) -> Result<(), Box<dyn std::error::Error>> {
    let mut reencoder = Reencoder::new(from, to)?;
    let (mut input, mut output) = (vec![0; 64 * 1024], Vec::new());
    let (mut stdin, mut stdout) = (std::io::stdin().lock(), std::io::stdout().lock());
    loop {
        let length = stdin.read(&mut input)?;
        let mut rest = &input[..length];
        while !rest.is_empty() {
            output.clear();
            rest = &rest[reencoder.push(rest, &mut output)?..];
            stdout.write_all(&output)?;
        }
        if length == 0 {
            break;
        }
    }
    output.clear();
    reencoder.finish(&mut output)?;
    Ok(stdout.write_all(&output)?)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [from, to] = arguments.as_slice() else {
        eprintln!("usage: reencode FROM TO < dataset > dataset");
        return ExitCode::from(2);
    };
    match run(from, to) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
