#!/usr/bin/env python3
"""check_msrv.py: every dependency in Cargo.lock supports the Rust version that Cargo.toml promises (`rust-version`).

Reads `cargo metadata`; compiles nothing. Exit code 1 with the names of the crates that need a newer Rust.
"""

import json
import subprocess
import sys


def version(text):
    return tuple(int(part) for part in (text.split(".") + ["0", "0"])[:3])


def main():
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--all-features"]
    metadata = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    ours = [package for package in metadata["packages"] if package["source"] is None]
    promised = max(package["rust_version"] for package in ours)
    newer = [
        f"{package['name']} {package['version']} needs Rust {package['rust_version']}"
        for package in metadata["packages"]
        if package["rust_version"] and version(package["rust_version"]) > version(promised)
    ]
    print("\n".join(newer) or f"{len(metadata['packages'])} packages support Rust {promised}")
    return 1 if newer else 0


if __name__ == "__main__":
    sys.exit(main())
