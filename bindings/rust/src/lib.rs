//! Models of mpigd: read, predict, write; value and gradient of losses. See mpigd.h for what functions compute.
//!
//! Arrays are row by row: x holds rows of as many numbers as the model has columns. What fails is an [`Error`].

use std::ffi::{CStr, CString};
use std::os::raw::{c_char, c_int};
use std::ptr::{null, null_mut, NonNull};

mod c {
    use std::os::raw::{c_char, c_int, c_void};

    pub enum Model {}
    pub enum Slice {}

    #[repr(C)]
    pub struct Error {
        pub message: [c_char; 512],
    }

    #[repr(C)]
    pub struct Loss {
        pub name: *const c_char,
        pub parameter: f64,
        pub smoothing: f64,
        pub outputs: i64,
    }

    pub type OfRows = unsafe extern "C" fn(*const Model, c_int, i64, *const c_void, *mut f64, *mut Error) -> c_int;

    extern "C" {
        pub fn mpigd_model_read(path: *const c_char, model: *mut *mut Model, error: *mut Error) -> c_int;
        pub fn mpigd_model_write(model: *const Model, path: *const c_char, error: *mut Error) -> c_int;
        pub fn mpigd_model_free(model: *mut Model);
        pub fn mpigd_model_columns(model: *const Model) -> i64;
        pub fn mpigd_model_outputs(model: *const Model) -> i64;
        pub fn mpigd_model_probabilities(model: *const Model) -> i64;
        pub fn mpigd_model_answers(model: *const Model) -> i64;
        pub fn mpigd_model_coef(model: *const Model) -> *const f64;
        pub fn mpigd_model_intercept(model: *const Model) -> *const f64;
        pub fn mpigd_model_loss(model: *const Model) -> *const c_char;
        pub fn mpigd_eta(
            model: *const Model, kind: c_int, n: i64, x: *const c_void, out: *mut f64, error: *mut Error,
        ) -> c_int;
        pub fn mpigd_predict(
            model: *const Model, kind: c_int, n: i64, x: *const c_void, out: *mut f64, error: *mut Error,
        ) -> c_int;
        pub fn mpigd_predict_proba(
            model: *const Model, kind: c_int, n: i64, x: *const c_void, out: *mut f64, error: *mut Error,
        ) -> c_int;
        pub fn mpigd_slice_dense(
            kind: c_int, rows: i64, columns: i64, x: *const c_void, y: *const f64, weight: *const f64,
            offset: *const f64, first_row: i64, total_rows: i64, slice: *mut *mut Slice, error: *mut Error,
        ) -> c_int;
        pub fn mpigd_slice_free(slice: *mut Slice);
        pub fn mpigd_value_gradient(
            slice: *const Slice, loss: *const Loss, coef: *const f64, intercept: *const f64, value: *mut f64,
            gradient: *mut f64, weight: *mut f64, error: *mut Error,
        ) -> c_int;
        pub fn mpigd_hessian_product(
            slice: *const Slice, loss: *const Loss, coef: *const f64, intercept: *const f64, direction: *const f64,
            product: *mut f64, error: *mut Error,
        ) -> c_int;
    }
}

/// What the library refuses or fails in: its status, as in mpigd.h, and its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub status: i32,
    pub message: String,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

const USAGE: i32 = 2;

fn refused(message: &str) -> Error {
    Error { status: USAGE, message: message.to_string() }
}

fn call(function: impl FnOnce(*mut c::Error) -> c_int) -> Result<(), Error> {
    let mut error = c::Error { message: [0; 512] };
    match function(&mut error) {
        0 => Ok(()),
        status => Err(Error { status, message: text(error.message.as_ptr()) }),
    }
}

fn text(pointer: *const c_char) -> String {
    // Texts of the library are UTF-8 with a zero at their end.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

fn c_text(text: &str) -> Result<CString, Error> {
    CString::new(text).map_err(|_| refused("a name with a zero in it"))
}

/// A number of X.
pub trait Number: Copy + private::Sealed {
    #[doc(hidden)]
    const KIND: c_int;
}

mod private {
    pub trait Sealed {}
    impl Sealed for f64 {}
    impl Sealed for f32 {}
    impl Sealed for i8 {}
    impl Sealed for u8 {}
}

impl Number for f64 {
    const KIND: c_int = 0;
}
impl Number for f32 {
    const KIND: c_int = 1;
}
impl Number for i8 {
    const KIND: c_int = 3;
}
impl Number for u8 {
    const KIND: c_int = 4;
}

/// A fitted linear model.
pub struct Model(NonNull<c::Model>);

// A model is immutable, and any number of threads may use it (mpigd.h, conventions).
unsafe impl Send for Model {}
unsafe impl Sync for Model {}

impl Drop for Model {
    fn drop(&mut self) {
        unsafe { c::mpigd_model_free(self.0.as_ptr()) }
    }
}

impl Model {
    /// Read model.h5 of `mpigd train`.
    pub fn read(path: &str) -> Result<Model, Error> {
        let path = c_text(path)?;
        let mut model = null_mut();
        call(|error| unsafe { c::mpigd_model_read(path.as_ptr(), &mut model, error) })?;
        Ok(Model(NonNull::new(model).expect("a model that was read")))
    }

    /// Write a file that this library and the Python program read.
    pub fn write(&self, path: &str) -> Result<(), Error> {
        let path = c_text(path)?;
        call(|error| unsafe { c::mpigd_model_write(self.get(), path.as_ptr(), error) })
    }

    pub fn columns(&self) -> usize {
        unsafe { c::mpigd_model_columns(self.get()) as usize }
    }

    pub fn outputs(&self) -> usize {
        unsafe { c::mpigd_model_outputs(self.get()) as usize }
    }

    /// How many probabilities a row has: the classes, or 0 for a model without.
    pub fn probabilities(&self) -> usize {
        unsafe { c::mpigd_model_probabilities(self.get()) as usize }
    }

    /// (columns, outputs), row by row.
    pub fn coef(&self) -> &[f64] {
        unsafe { std::slice::from_raw_parts(c::mpigd_model_coef(self.get()), self.columns() * self.outputs()) }
    }

    pub fn intercept(&self) -> &[f64] {
        unsafe { std::slice::from_raw_parts(c::mpigd_model_intercept(self.get()), self.outputs()) }
    }

    pub fn loss(&self) -> String {
        text(unsafe { c::mpigd_model_loss(self.get()) })
    }

    /// Linear predictors (n, outputs).
    pub fn eta<T: Number>(&self, x: &[T]) -> Result<Vec<f64>, Error> {
        self.of_rows(c::mpigd_eta, x, self.outputs())
    }

    /// Labels of classes, or expected y: (n), or (n, outputs) of a regression with several.
    pub fn predict<T: Number>(&self, x: &[T]) -> Result<Vec<f64>, Error> {
        self.of_rows(c::mpigd_predict, x, unsafe { c::mpigd_model_answers(self.get()) as usize })
    }

    /// Probabilities (n, classes), in the order of labels.
    pub fn predict_proba<T: Number>(&self, x: &[T]) -> Result<Vec<f64>, Error> {
        self.of_rows(c::mpigd_predict_proba, x, self.probabilities())
    }

    fn of_rows<T: Number>(&self, function: c::OfRows, x: &[T], width: usize) -> Result<Vec<f64>, Error> {
        if x.len() % self.columns() != 0 {
            return Err(refused("x has to hold whole rows of the model's columns"));
        }
        let n = x.len() / self.columns();
        let mut found = vec![0.0; n * width];
        call(|error| unsafe {
            function(self.get(), T::KIND, n as i64, x.as_ptr().cast(), found.as_mut_ptr(), error)
        })?;
        Ok(found)
    }

    fn get(&self) -> *const c::Model {
        self.0.as_ptr()
    }
}

/// A loss; zeros stand for the defaults of its parameter and smoothing. outputs: the classes of softmax, 1 of others.
#[derive(Clone, Debug)]
pub struct Loss<'a> {
    pub name: &'a str,
    pub parameter: f64,
    pub smoothing: f64,
    pub outputs: usize,
}

/// Rows with what is known of them, copied.
pub struct Slice {
    slice: NonNull<c::Slice>,
    columns: usize,
}

unsafe impl Send for Slice {}
unsafe impl Sync for Slice {}

impl Drop for Slice {
    fn drop(&mut self) {
        unsafe { c::mpigd_slice_free(self.slice.as_ptr()) }
    }
}

/// Weighted means over rows of a loss and of its derivatives (columns + 1, outputs), the intercepts' last.
pub struct ValueGradient {
    pub value: f64,
    pub gradient: Vec<f64>,
    pub weight: f64,
}

impl Slice {
    /// x: rows, as many as y has numbers. None: ones and zeros.
    pub fn new<T: Number>(
        x: &[T], y: &[f64], weight: Option<&[f64]>, offset: Option<&[f64]>,
    ) -> Result<Slice, Error> {
        let n = y.len();
        let fits = |numbers: Option<&[f64]>| numbers.map_or(true, |numbers| numbers.len() == n);
        if n == 0 || x.len() % n != 0 || !fits(weight) || !fits(offset) {
            return Err(refused("y, weight and offset need a number for each row of x"));
        }
        let pointer = |numbers: Option<&[f64]>| numbers.map_or(null(), <[f64]>::as_ptr);
        let columns = x.len() / n;
        let mut slice = null_mut();
        call(|error| unsafe {
            c::mpigd_slice_dense(
                T::KIND, n as i64, columns as i64, x.as_ptr().cast(), y.as_ptr(), pointer(weight), pointer(offset), 0,
                n as i64, &mut slice, error,
            )
        })?;
        Ok(Slice { slice: NonNull::new(slice).expect("a slice that was made"), columns })
    }

    pub fn value_gradient(&self, loss: &Loss, coef: &[f64], intercept: &[f64]) -> Result<ValueGradient, Error> {
        self.check(coef, intercept)?;
        let name = c_text(loss.name)?;
        let loss = of(loss, &name);
        let mut found = ValueGradient { value: 0.0, gradient: vec![0.0; coef.len() + intercept.len()], weight: 0.0 };
        call(|error| unsafe {
            c::mpigd_value_gradient(
                self.slice.as_ptr(), &loss, coef.as_ptr(), intercept.as_ptr(), &mut found.value,
                found.gradient.as_mut_ptr(), &mut found.weight, error,
            )
        })?;
        Ok(found)
    }

    /// The Hessian times a direction (columns + 1, outputs), of the same shape.
    pub fn hessian_product(
        &self, loss: &Loss, coef: &[f64], intercept: &[f64], direction: &[f64],
    ) -> Result<Vec<f64>, Error> {
        self.check(coef, intercept)?;
        if direction.len() != coef.len() + intercept.len() {
            return Err(refused("direction needs a number for each coefficient and intercept"));
        }
        let name = c_text(loss.name)?;
        let loss = of(loss, &name);
        let mut product = vec![0.0; direction.len()];
        call(|error| unsafe {
            c::mpigd_hessian_product(
                self.slice.as_ptr(), &loss, coef.as_ptr(), intercept.as_ptr(), direction.as_ptr(),
                product.as_mut_ptr(), error,
            )
        })?;
        Ok(product)
    }

    fn check(&self, coef: &[f64], intercept: &[f64]) -> Result<(), Error> {
        if coef.len() == self.columns * intercept.len() {
            return Ok(());
        }
        Err(refused("coef has to hold as many numbers for each column of x as intercept"))
    }
}

/// A loss as C takes it, while `name` lives.
fn of(loss: &Loss, name: &CString) -> c::Loss {
    c::Loss {
        name: name.as_ptr(),
        parameter: loss.parameter,
        smoothing: loss.smoothing,
        outputs: loss.outputs as i64,
    }
}
