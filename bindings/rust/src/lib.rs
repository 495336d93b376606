//! Models of mpigd: read, predict, write; value and gradient of losses. See mpigd.h for what functions compute.
//!
//! Arrays are row by row: x holds rows of as many numbers as the model has columns, or is [`Sparse`]. What fails is an
//! [`Error`].

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

    pub type OfDense = unsafe extern "C" fn(*const Model, c_int, i64, *const c_void, *mut f64, *mut Error) -> c_int;
    pub type OfSparse = unsafe extern "C" fn(
        *const Model, c_int, i64, *const i64, *const i32, *const c_void, *mut f64, *mut Error,
    ) -> c_int;

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
        pub fn mpigd_eta_csr(
            model: *const Model, kind: c_int, n: i64, starts: *const i64, places: *const i32, values: *const c_void,
            out: *mut f64, error: *mut Error,
        ) -> c_int;
        pub fn mpigd_predict_csr(
            model: *const Model, kind: c_int, n: i64, starts: *const i64, places: *const i32, values: *const c_void,
            out: *mut f64, error: *mut Error,
        ) -> c_int;
        pub fn mpigd_predict_proba_csr(
            model: *const Model, kind: c_int, n: i64, starts: *const i64, places: *const i32, values: *const c_void,
            out: *mut f64, error: *mut Error,
        ) -> c_int;
        pub fn mpigd_slice_dense(
            kind: c_int, rows: i64, columns: i64, x: *const c_void, y: *const f64, weight: *const f64,
            offset: *const f64, first_row: i64, total_rows: i64, slice: *mut *mut Slice, error: *mut Error,
        ) -> c_int;
        pub fn mpigd_slice_csr(
            kind: c_int, rows: i64, columns: i64, starts: *const i64, places: *const i32, values: *const c_void,
            y: *const f64, weight: *const f64, offset: *const f64, first_row: i64, total_rows: i64,
            total_stored: i64, slice: *mut *mut Slice, error: *mut Error,
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

/// Sparse rows (CSR), whose arrays are borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Sparse<'a, T> {
    starts: &'a [i64],
    places: &'a [i32],
    values: &'a [T],
    columns: usize,
}

impl<'a, T: Number> Sparse<'a, T> {
    /// Row i has `values[starts[i]]` … `values[starts[i + 1] - 1]` in the columns of the same places, from 0, below
    /// `columns`. starts (rows + 1) ascend; they need not begin at 0.
    pub fn new(
        starts: &'a [i64], places: &'a [i32], values: &'a [T], columns: usize,
    ) -> Result<Sparse<'a, T>, Error> {
        // C has no lengths to check, but does compare places with columns.
        let within = match (starts.first(), starts.last()) {
            (Some(&first), Some(&last)) => first >= 0 && last <= values.len() as i64,
            _ => false,
        };
        if !within || starts.windows(2).any(|pair| pair[0] > pair[1]) {
            return Err(refused("starts have to ascend, from 0 or more to the number of values or less"));
        }
        if places.len() != values.len() {
            return Err(refused("each of values needs a place"));
        }
        Ok(Sparse { starts, places, values, columns })
    }

    fn rows(&self) -> usize {
        self.starts.len() - 1
    }

    fn stored(&self) -> i64 {
        self.starts[self.rows()] - self.starts[0]
    }
}

/// X: slices, vectors and arrays of numbers are dense rows, and [`Sparse`] is sparse ones.
#[derive(Clone, Copy, Debug)]
pub enum Rows<'a, T> {
    Dense(&'a [T]),
    Sparse(Sparse<'a, T>),
}

impl<'a, T> From<&'a [T]> for Rows<'a, T> {
    fn from(x: &'a [T]) -> Self {
        Rows::Dense(x)
    }
}
impl<'a, T> From<&'a Vec<T>> for Rows<'a, T> {
    fn from(x: &'a Vec<T>) -> Self {
        Rows::Dense(x)
    }
}
impl<'a, T, const N: usize> From<&'a [T; N]> for Rows<'a, T> {
    fn from(x: &'a [T; N]) -> Self {
        Rows::Dense(x)
    }
}
impl<'a, T> From<Sparse<'a, T>> for Rows<'a, T> {
    fn from(x: Sparse<'a, T>) -> Self {
        Rows::Sparse(x)
    }
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
    pub fn eta<'a, T: Number + 'a>(&self, x: impl Into<Rows<'a, T>>) -> Result<Vec<f64>, Error> {
        self.of_rows(c::mpigd_eta, c::mpigd_eta_csr, x.into(), self.outputs())
    }

    /// Labels of classes, or expected y: (n), or (n, outputs) of a regression with several.
    pub fn predict<'a, T: Number + 'a>(&self, x: impl Into<Rows<'a, T>>) -> Result<Vec<f64>, Error> {
        let width = unsafe { c::mpigd_model_answers(self.get()) as usize };
        self.of_rows(c::mpigd_predict, c::mpigd_predict_csr, x.into(), width)
    }

    /// Probabilities (n, classes), in the order of labels.
    pub fn predict_proba<'a, T: Number + 'a>(&self, x: impl Into<Rows<'a, T>>) -> Result<Vec<f64>, Error> {
        self.of_rows(c::mpigd_predict_proba, c::mpigd_predict_proba_csr, x.into(), self.probabilities())
    }

    fn of_rows<T: Number>(
        &self, dense: c::OfDense, sparse: c::OfSparse, x: Rows<T>, width: usize,
    ) -> Result<Vec<f64>, Error> {
        let n = match x {
            Rows::Dense(x) if x.len().checked_rem(self.columns()) == Some(0) => x.len() / self.columns(),
            Rows::Dense(_) => return Err(refused("x has to hold whole rows of the model's columns")),
            Rows::Sparse(x) if x.columns == self.columns() => x.rows(),
            Rows::Sparse(_) => return Err(refused("x has another number of columns than the model")),
        };
        let mut found = vec![0.0; n * width];
        let (model, n, out) = (self.get(), n as i64, found.as_mut_ptr());
        call(|error| unsafe {
            match x {
                Rows::Dense(x) => dense(model, T::KIND, n, x.as_ptr().cast(), out, error),
                Rows::Sparse(x) => sparse(
                    model, T::KIND, n, x.starts.as_ptr(), x.places.as_ptr(), x.values.as_ptr().cast(), out, error,
                ),
            }
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
    pub fn new<'a, T: Number + 'a>(
        x: impl Into<Rows<'a, T>>, y: &[f64], weight: Option<&[f64]>, offset: Option<&[f64]>,
    ) -> Result<Slice, Error> {
        let (x, n) = (x.into(), y.len());
        let (whole, columns) = match x {
            Rows::Dense(x) => (x.len() % n.max(1) == 0, x.len() / n.max(1)),
            Rows::Sparse(x) => (x.rows() == n, x.columns),
        };
        let fits = |numbers: Option<&[f64]>| numbers.map_or(true, |numbers| numbers.len() == n);
        if n == 0 || !whole || !fits(weight) || !fits(offset) {
            return Err(refused("y, weight and offset need a number for each row of x"));
        }
        let pointer = |numbers: Option<&[f64]>| numbers.map_or(null(), <[f64]>::as_ptr);
        let (y, weight, offset) = (y.as_ptr(), pointer(weight), pointer(offset));
        let (rows, d) = (n as i64, columns as i64);
        let mut slice = null_mut();
        call(|error| unsafe {
            match x {
                Rows::Dense(x) => c::mpigd_slice_dense(
                    T::KIND, rows, d, x.as_ptr().cast(), y, weight, offset, 0, rows, &mut slice, error,
                ),
                Rows::Sparse(x) => c::mpigd_slice_csr(
                    T::KIND, rows, d, x.starts.as_ptr(), x.places.as_ptr(), x.values.as_ptr().cast(), y, weight,
                    offset, 0, rows, x.stored(), &mut slice, error,
                ),
            }
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
