//! What tests/test_bindings.py compares with Python: for each folder given, results of its model and rows.
use std::{env, error::Error, fs, path::Path};

use mpigd::{Loss, Model, Number, Slice, Sparse};

/// The numbers of a file, of N bytes each.
fn read<T, const N: usize>(path: String, number: fn([u8; N]) -> T) -> Result<Vec<T>, Box<dyn Error>> {
    Ok(fs::read(path)?.chunks_exact(N).map(|bytes| number(bytes.try_into().unwrap())).collect())
}

/// Sparse rows that do not fit end in an error.
fn refuse(model: &Model) {
    let (d, places, values) = (model.columns(), [1, 0, 1], [1.0, 2.0, 3.0]);
    for starts in [&[][..], &[-1, 3], &[0, 4], &[0, 4, 3], &[0, i64::MAX, 3], &[i64::MIN, 1, 3], &[3, 2, 3]] {
        refused(Sparse::new(starts, &places, &values, d), 2, "starts have to ascend");
    }
    refused(Sparse::new(&[0, 1], &places[1..], &values, d), 2, "needs a place");

    let other = Sparse::new(&[0, 1, 3], &places, &values, d + 1).unwrap();
    refused(model.predict(other), 2, "number of columns");
    for column in [-1, d as i32, i32::MIN, i32::MAX] {
        refused_of(model, &[1, column, 1], &values, "in column");
    }
    refused_of(model, &places, &[1.0, f64::NAN, 3.0], "row 1 ");

    let x = Sparse::new(&[0, 1, 3], &places, &values, d).unwrap();
    for n in [0, 1, 3] {
        refused(Slice::new(x, &vec![0.0; n], None, None), 2, "a number for each row");
    }
    refused(Slice::new(x, &[0.0; 2], Some(&[1.0]), None), 2, "a number for each row");
    refused(Slice::new(x, &[0.0; 2], None, Some(&[1.0])), 2, "a number for each row");
    refused(Slice::new(Sparse::new(&[0, 3], &places, &values, usize::MAX).unwrap(), &[0.0], None, None), 2, "columns");

    let eta = model.eta(x).unwrap();
    let second = Sparse::new(&[1, 3], &places, &values, d).unwrap();
    assert_eq!(model.eta(second).unwrap(), eta[model.outputs()..]);
    assert!(model.eta(Sparse::new(&[3], &places, &values, d).unwrap()).unwrap().is_empty());
}

/// Neither predictions nor slices take two rows like these.
fn refused_of<T: Number>(model: &Model, places: &[i32], values: &[T], said: &str) {
    let x = Sparse::new(&[0, 1, 3], places, values, model.columns()).unwrap();
    refused(model.predict(x), 3, said);
    refused(Slice::new(x, &[0.0; 2], None, None), 3, said);
}

fn refused<T>(found: Result<T, mpigd::Error>, status: i32, said: &str) {
    let error = found.err().expect("rows that do not fit are taken");
    assert!(error.status == status && error.message.contains(said), "{error:?}");
}

fn main() -> Result<(), Box<dyn Error>> {
    for folder in env::args().skip(1) {
        let input = |name: &str| read(format!("{folder}/{name}"), f64::from_le_bytes);
        let put = |name: &str, found: &[f64]| {
            let bytes: Vec<u8> = found.iter().flat_map(|number| number.to_le_bytes()).collect();
            fs::write(format!("{folder}/rust.{name}"), bytes)
        };
        let model = Model::read(&format!("{folder}/model.h5"))?;
        refuse(&model);
        let x = input("X")?;
        let starts = read(format!("{folder}/starts"), i64::from_le_bytes)?;
        let places = read(format!("{folder}/places"), i32::from_le_bytes)?;
        let values = input("values")?;
        let sparse = Sparse::new(&starts, &places, &values, model.columns())?;
        put("eta", &model.eta(&x)?)?;
        put("eta_sparse", &model.eta(sparse)?)?;
        put("predict", &model.predict(&x)?)?;
        put("predict_sparse", &model.predict(sparse)?)?;
        if Path::new(&folder).join("single").exists() {
            let single = |numbers: &[f64]| -> Vec<f32> { numbers.iter().map(|&number| number as f32).collect() };
            put("eta_float32", &model.eta(&single(&x))?)?;
            let values = single(&values);
            let sparse = Sparse::new(&starts, &places, &values, model.columns())?;
            put("eta_sparse_float32", &model.eta(sparse)?)?;
        }
        if model.probabilities() > 0 {
            put("proba", &model.predict_proba(&x)?)?;
            put("proba_sparse", &model.predict_proba(sparse)?)?;
        }

        if Path::new(&folder).join("y").exists() {
            let (weight, offset, numbers) = (input("weight")?, input("offset")?, input("numbers")?);
            let y = input("y")?;
            let slice = Slice::new(&x, &y, Some(&weight), Some(&offset))?;
            let name = model.loss();
            let loss =
                Loss { name: &name, parameter: numbers[0], smoothing: numbers[1], outputs: model.outputs() };
            let found = slice.value_gradient(&loss, model.coef(), model.intercept())?;
            put("value", &[found.value, found.weight])?;
            put("gradient", &found.gradient)?;
            let thin = Slice::new(sparse, &y, Some(&weight), Some(&offset))?;
            put("gradient_sparse", &thin.value_gradient(&loss, model.coef(), model.intercept())?.gradient)?;
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
