//! The program `holdfast`. Everything stands in the library; here is only the exit code.

fn main() -> std::process::ExitCode {
    node::cli::main()
}
