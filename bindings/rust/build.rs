// MPIGD_HOME is where libmpigd is installed.
fn main() {
    println!("cargo:rerun-if-env-changed=MPIGD_HOME");
    let home = std::env::var("MPIGD_HOME").unwrap_or_else(|_| "/usr/local".to_string());
    println!("cargo:rustc-link-search=native={home}/lib");
    println!("cargo:rustc-link-lib=dylib=mpigd");
    // Of this package's own programs; others set it, or LD_LIBRARY_PATH.
    println!("cargo:rustc-link-arg=-Wl,-rpath,{home}/lib");
}
