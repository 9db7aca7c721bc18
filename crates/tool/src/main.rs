//! The command line tool: see [`vla_trt::cli`].

fn main() -> std::process::ExitCode {
    vla_trt::cli::main()
}
