//! Predict the rows of a table: cargo run --example predict MODEL.h5 TABLE.csv
use std::{env, error::Error, fs};

use mpigd::Model;

fn main() -> Result<(), Box<dyn Error>> {
    let paths: Vec<String> = env::args().skip(1).collect();
    let model = Model::read(&paths[0])?;

    // The model's columns are the first ones of the table.
    let mut x: Vec<f64> = Vec::new();
    for line in fs::read_to_string(&paths[1])?.lines().skip(1) {
        for cell in line.split(',').take(model.columns()) {
            x.push(cell.parse()?);
        }
    }

    for y in model.predict(&x)? {
        println!("{y}");
    }
    Ok(())
}
