//! Compiles what a worker needs of `proto/` with protox, so that building needs no `protoc`.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=../proto/quorate/v1/jobs.proto");
    println!("cargo:rerun-if-changed=../proto/quorate/v1/job_service.proto");
    let files = ["../proto/quorate/v1/jobs.proto", "../proto/quorate/v1/job_service.proto"];
    let descriptors = protox::compile(files, ["../proto"])?;
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("descriptors.bin"), descriptors.encode_to_vec())?;
    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names();
    tonic_prost_build::configure().compile_fds_with_config(descriptors, config)?;
    Ok(())
}
