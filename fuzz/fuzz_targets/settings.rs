//! Any text as a configuration file: settings, or a list of what is wrong, never a crash; and what is written back reads the same.
#![no_main]

#[path = "../../src/config/mod.rs"]
#[allow(dead_code, unreachable_pub, reason = "the binary's own module, of which only the reading is used")]
mod config;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let path = std::env::temp_dir().join(format!("tidegate-fuzz-{}.toml", std::process::id()));
    std::fs::write(&path, data).unwrap();
    let load = || {
        let nothing = config::process_environment().source(Some(Default::default()));
        config::load(Some(&path), nothing, &config::Flags::default())
    };
    match load() {
        Ok(loaded) => {
            std::fs::write(&path, toml::to_string(&loaded.raw).unwrap()).unwrap();
            assert_eq!(load().unwrap().raw, loaded.raw);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
