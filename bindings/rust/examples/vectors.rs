//! What tests/test_bindings.py compares with Python: for each folder given, results of its model and rows.
use std::{env, error::Error, fs, path::Path};

use mpigd::{Loss, Model, Slice};

fn read(path: String) -> Result<Vec<f64>, Box<dyn Error>> {
    Ok(fs::read(path)?.chunks_exact(8).map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap())).collect())
}

fn main() -> Result<(), Box<dyn Error>> {
    for folder in env::args().skip(1) {
        let input = |name: &str| read(format!("{folder}/{name}"));
        let put = |name: &str, found: &[f64]| {
            let bytes: Vec<u8> = found.iter().flat_map(|number| number.to_le_bytes()).collect();
            fs::write(format!("{folder}/rust.{name}"), bytes)
        };
        let model = Model::read(&format!("{folder}/model.h5"))?;
        let x = input("X")?;
        put("eta", &model.eta(&x)?)?;
        put("predict", &model.predict(&x)?)?;
        if Path::new(&folder).join("single").exists() {
            let single: Vec<f32> = x.iter().map(|&number| number as f32).collect();
            put("eta_float32", &model.eta(&single)?)?;
        }
        if model.probabilities() > 0 {
            put("proba", &model.predict_proba(&x)?)?;
        }

        if Path::new(&folder).join("y").exists() {
            let (weight, offset, numbers) = (input("weight")?, input("offset")?, input("numbers")?);
            let slice = Slice::new(&x, &input("y")?, Some(&weight), Some(&offset))?;
            let name = model.loss();
            let loss =
                Loss { name: &name, parameter: numbers[0], smoothing: numbers[1], outputs: model.outputs() };
            let found = slice.value_gradient(&loss, model.coef(), model.intercept())?;
            put("value", &[found.value, found.weight])?;
            put("gradient", &found.gradient)?;
            let direction = input("direction")?;
            put("product", &slice.hessian_product(&loss, model.coef(), model.intercept(), &direction)?)?;
        }

        model.write(&format!("{folder}/rust.copy.h5"))?;
        let mut bad = x.clone();
        bad[model.columns()] = f64::NAN;
        let error = model.predict(&bad).unwrap_err();
        fs::write(format!("{folder}/rust.error"), format!("{} {}", error.status, error.message))?;
    }
    Ok(())
}
