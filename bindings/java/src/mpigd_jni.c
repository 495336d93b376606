/* The native methods of io.mpigd.Native. A failure of the library becomes a pending MpigdException. */
#include <stdlib.h>
#include <string.h>

#include <mpigd.h>

#include "io_mpigd_Native.h"

#define MODEL(handle) ((const mpigd_model *)(intptr_t)(handle))

static int failed(JNIEnv *env, mpigd_status status, const mpigd_error *error) {
    if (status == MPIGD_OK)
        return 0;
    const jsize length = (jsize)strlen(error->message);
    jbyteArray message = (*env)->NewByteArray(env, length);
    jclass kind = (*env)->FindClass(env, "io/mpigd/MpigdException");
    if (!message || !kind)
        return 1; /* with an exception of Java */
    (*env)->SetByteArrayRegion(env, message, 0, length, (const jbyte *)error->message);
    jmethodID make = (*env)->GetMethodID(env, kind, "<init>", "(I[B)V");
    jobject exception = make ? (*env)->NewObject(env, kind, make, (jint)status, message) : NULL;
    if (exception)
        (*env)->Throw(env, exception);
    return 1;
}

/* The elements of an array of Java; NULL for null, too. */
static double *doubles(JNIEnv *env, jdoubleArray array) {
    return array ? (*env)->GetDoubleArrayElements(env, array, NULL) : NULL;
}

static void let_go(JNIEnv *env, jdoubleArray array, double *elements, jint mode) {
    if (elements)
        (*env)->ReleaseDoubleArrayElements(env, array, elements, mode);
}

static jdoubleArray array_of(JNIEnv *env, const double *numbers, int64_t length) {
    jdoubleArray array = (*env)->NewDoubleArray(env, (jsize)length);
    if (array && length)
        (*env)->SetDoubleArrayRegion(env, array, 0, (jsize)length, numbers);
    return array;
}

static jbyteArray bytes_of(JNIEnv *env, const char *text) {
    const jsize length = (jsize)strlen(text);
    jbyteArray array = (*env)->NewByteArray(env, length);
    if (array)
        (*env)->SetByteArrayRegion(env, array, 0, length, (const jbyte *)text);
    return array;
}

/* Rows. What is of an array has to be let go. */
typedef struct {
    mpigd_type type;
    jarray array; /* NULL for a direct buffer */
    void *numbers;
    jlongArray starts_array; /* NULL for dense rows */
    jintArray places_array;
    jlong *starts;
    jint *places;
} rows;

static rows rows_of(JNIEnv *env, jint type, jobject x, jlongArray starts, jintArray places) {
    rows found = {.type = (mpigd_type)type, .starts_array = starts, .places_array = places};
    found.numbers = (*env)->GetDirectBufferAddress(env, x);
    if (!found.numbers) {
        found.array = x;
        found.numbers = type == MPIGD_FLOAT64 ? (void *)(*env)->GetDoubleArrayElements(env, x, NULL)
                                              : (void *)(*env)->GetFloatArrayElements(env, x, NULL);
    }
    if (starts && found.numbers)
        found.starts = (*env)->GetLongArrayElements(env, starts, NULL);
    if (found.starts)
        found.places = (*env)->GetIntArrayElements(env, places, NULL);
    return found;
}

/* Whether all of them are there; where not, an exception is pending. */
static int are_there(const rows *x) { return x->numbers && (!x->starts_array || x->places); }

static void leave_rows(JNIEnv *env, const rows *x) {
    if (x->places)
        (*env)->ReleaseIntArrayElements(env, x->places_array, x->places, JNI_ABORT);
    if (x->starts)
        (*env)->ReleaseLongArrayElements(env, x->starts_array, x->starts, JNI_ABORT);
    if (!x->array || !x->numbers)
        return;
    if (x->type == MPIGD_FLOAT64)
        (*env)->ReleaseDoubleArrayElements(env, x->array, x->numbers, JNI_ABORT);
    else
        (*env)->ReleaseFloatArrayElements(env, x->array, x->numbers, JNI_ABORT);
}

JNIEXPORT jlong JNICALL Java_io_mpigd_Native_readModel(JNIEnv *env, jclass self, jbyteArray path) {
    (void)self;
    jbyte *text = (*env)->GetByteArrayElements(env, path, NULL);
    if (!text)
        return 0;
    mpigd_error error;
    mpigd_model *model = NULL;
    const mpigd_status status = mpigd_model_read((const char *)text, &model, &error);
    (*env)->ReleaseByteArrayElements(env, path, text, JNI_ABORT);
    failed(env, status, &error);
    return (jlong)(intptr_t)model;
}

JNIEXPORT jlong JNICALL Java_io_mpigd_Native_newModel(JNIEnv *env, jclass self, jbyteArray loss, jdoubleArray coef,
                                                      jdoubleArray intercept, jdoubleArray labels) {
    (void)self;
    jbyte *name = (*env)->GetByteArrayElements(env, loss, NULL);
    double *c = doubles(env, coef), *b = doubles(env, intercept), *l = doubles(env, labels);
    const int64_t outputs = (*env)->GetArrayLength(env, intercept), classes = (*env)->GetArrayLength(env, labels);
    mpigd_error error;
    mpigd_model *model = NULL;
    if (name && c && b && l) {
        const mpigd_status status =
            mpigd_model_new((const char *)name, (*env)->GetArrayLength(env, coef) / outputs, outputs, c, b, classes,
                            classes ? l : NULL, &model, &error);
        failed(env, status, &error);
    }
    let_go(env, labels, l, JNI_ABORT);
    let_go(env, intercept, b, JNI_ABORT);
    let_go(env, coef, c, JNI_ABORT);
    if (name)
        (*env)->ReleaseByteArrayElements(env, loss, name, JNI_ABORT);
    return (jlong)(intptr_t)model;
}

JNIEXPORT void JNICALL Java_io_mpigd_Native_writeModel(JNIEnv *env, jclass self, jlong model, jbyteArray path) {
    (void)self;
    jbyte *text = (*env)->GetByteArrayElements(env, path, NULL);
    if (!text)
        return;
    mpigd_error error;
    const mpigd_status status = mpigd_model_write(MODEL(model), (const char *)text, &error);
    (*env)->ReleaseByteArrayElements(env, path, text, JNI_ABORT);
    failed(env, status, &error);
}

JNIEXPORT void JNICALL Java_io_mpigd_Native_freeModel(JNIEnv *env, jclass self, jlong model) {
    (void)env, (void)self;
    mpigd_model_free((mpigd_model *)(intptr_t)model);
}

#define NUMBER(name, type, function)                                                                                  \
    JNIEXPORT type JNICALL Java_io_mpigd_Native_##name(JNIEnv *env, jclass self, jlong model) {                       \
        (void)env, (void)self;                                                                                        \
        return function(MODEL(model));                                                                                \
    }
NUMBER(columns, jlong, mpigd_model_columns)
NUMBER(outputs, jlong, mpigd_model_outputs)
NUMBER(probabilities, jlong, mpigd_model_probabilities)
NUMBER(answers, jlong, mpigd_model_answers)
NUMBER(threshold, jdouble, mpigd_model_threshold)

JNIEXPORT jdoubleArray JNICALL Java_io_mpigd_Native_coef(JNIEnv *env, jclass self, jlong model) {
    (void)self;
    return array_of(env, mpigd_model_coef(MODEL(model)),
                    mpigd_model_columns(MODEL(model)) * mpigd_model_outputs(MODEL(model)));
}

JNIEXPORT jdoubleArray JNICALL Java_io_mpigd_Native_intercept(JNIEnv *env, jclass self, jlong model) {
    (void)self;
    return array_of(env, mpigd_model_intercept(MODEL(model)), mpigd_model_outputs(MODEL(model)));
}

JNIEXPORT jdoubleArray JNICALL Java_io_mpigd_Native_labels(JNIEnv *env, jclass self, jlong model) {
    (void)self;
    return array_of(env, mpigd_model_labels(MODEL(model)), mpigd_model_classes(MODEL(model)));
}

JNIEXPORT jbyteArray JNICALL Java_io_mpigd_Native_loss(JNIEnv *env, jclass self, jlong model) {
    (void)self;
    return bytes_of(env, mpigd_model_loss(MODEL(model)));
}

JNIEXPORT jbyteArray JNICALL Java_io_mpigd_Native_link(JNIEnv *env, jclass self, jlong model) {
    (void)self;
    return bytes_of(env, mpigd_model_link(MODEL(model)));
}

JNIEXPORT jbyteArray JNICALL Java_io_mpigd_Native_feature(JNIEnv *env, jclass self, jlong model, jlong column) {
    (void)self;
    return bytes_of(env, mpigd_model_feature(MODEL(model), column));
}

JNIEXPORT jdoubleArray JNICALL Java_io_mpigd_Native_ofRows(JNIEnv *env, jclass self, jlong model, jint what, jint type,
                                                           jobject x, jlongArray starts, jintArray places, jlong n,
                                                           jlong width) {
    (void)self;
    static mpigd_status (*const dense[])(const mpigd_model *, mpigd_type, int64_t, const void *, double *,
                                         mpigd_error *) = {mpigd_eta, mpigd_predict, mpigd_predict_proba};
    static mpigd_status (*const sparse[])(const mpigd_model *, mpigd_type, int64_t, const int64_t *, const int32_t *,
                                          const void *, double *,
                                          mpigd_error *) = {mpigd_eta_csr, mpigd_predict_csr, mpigd_predict_proba_csr};
    jdoubleArray found = (*env)->NewDoubleArray(env, (jsize)(n * width));
    if (!found)
        return NULL;
    double *out = doubles(env, found);
    if (!out)
        return NULL;
    const rows from = rows_of(env, type, x, starts, places);
    mpigd_error error;
    if (are_there(&from))
        failed(env,
               starts ? sparse[what](MODEL(model), from.type, n, (const int64_t *)from.starts,
                                     (const int32_t *)from.places, from.numbers, out, &error)
                      : dense[what](MODEL(model), from.type, n, from.numbers, out, &error),
               &error);
    leave_rows(env, &from);
    let_go(env, found, out, 0);
    return found;
}

JNIEXPORT jlong JNICALL Java_io_mpigd_Native_newSlice(JNIEnv *env, jclass self, jint type, jobject x,
                                                      jlongArray starts, jintArray places, jlong n, jlong d,
                                                      jdoubleArray y, jdoubleArray weight, jdoubleArray offset) {
    (void)self;
    const rows from = rows_of(env, type, x, starts, places);
    double *target = doubles(env, y), *w = doubles(env, weight), *o = doubles(env, offset);
    mpigd_error error;
    mpigd_slice *slice = NULL;
    if (are_there(&from) && target && !weight == !w && !offset == !o)
        failed(env,
               starts ? mpigd_slice_csr(from.type, n, d, (const int64_t *)from.starts, (const int32_t *)from.places,
                                        from.numbers, target, w, o, 0, n, from.starts[n] - from.starts[0], &slice,
                                        &error)
                      : mpigd_slice_dense(from.type, n, d, from.numbers, target, w, o, 0, n, &slice, &error),
               &error);
    let_go(env, offset, o, JNI_ABORT);
    let_go(env, weight, w, JNI_ABORT);
    let_go(env, y, target, JNI_ABORT);
    leave_rows(env, &from);
    return (jlong)(intptr_t)slice;
}

JNIEXPORT void JNICALL Java_io_mpigd_Native_freeSlice(JNIEnv *env, jclass self, jlong slice) {
    (void)env, (void)self;
    mpigd_slice_free((mpigd_slice *)(intptr_t)slice);
}

/* Gradient, value and sum of weights where direction is NULL, the Hessian times it otherwise. */
static jdoubleArray derivative(JNIEnv *env, jlong slice, jbyteArray loss, jdouble parameter, jdouble smoothing,
                               jdoubleArray coef, jdoubleArray intercept, jdoubleArray direction) {
    const jsize outputs = (*env)->GetArrayLength(env, intercept);
    const jsize size = (*env)->GetArrayLength(env, coef) + outputs;
    jdoubleArray found = (*env)->NewDoubleArray(env, direction ? size : size + 2);
    if (!found)
        return NULL;
    jbyte *name = (*env)->GetByteArrayElements(env, loss, NULL);
    double *out = doubles(env, found), *c = doubles(env, coef), *b = doubles(env, intercept);
    double *v = doubles(env, direction);
    if (name && out && c && b && !direction == !v) {
        const mpigd_loss of = {(const char *)name, parameter, smoothing, outputs};
        const mpigd_slice *rows = (const mpigd_slice *)(intptr_t)slice;
        mpigd_error error;
        failed(env,
               direction ? mpigd_hessian_product(rows, &of, c, b, v, out, &error)
                         : mpigd_value_gradient(rows, &of, c, b, out + size, out, out + size + 1, &error),
               &error);
    }
    let_go(env, direction, v, JNI_ABORT);
    let_go(env, intercept, b, JNI_ABORT);
    let_go(env, coef, c, JNI_ABORT);
    let_go(env, found, out, 0);
    if (name)
        (*env)->ReleaseByteArrayElements(env, loss, name, JNI_ABORT);
    return found;
}

JNIEXPORT jdoubleArray JNICALL Java_io_mpigd_Native_valueGradient(JNIEnv *env, jclass self, jlong slice,
                                                                  jbyteArray loss, jdouble parameter,
                                                                  jdouble smoothing, jdoubleArray coef,
                                                                  jdoubleArray intercept) {
    (void)self;
    return derivative(env, slice, loss, parameter, smoothing, coef, intercept, NULL);
}

JNIEXPORT jdoubleArray JNICALL Java_io_mpigd_Native_hessianProduct(JNIEnv *env, jclass self, jlong slice,
                                                                   jbyteArray loss, jdouble parameter,
                                                                   jdouble smoothing, jdoubleArray coef,
                                                                   jdoubleArray intercept, jdoubleArray direction) {
    (void)self;
    return derivative(env, slice, loss, parameter, smoothing, coef, intercept, direction);
}

JNIEXPORT jlong JNICALL Java_io_mpigd_Native_fit(JNIEnv *env, jclass self, jlong slice, jbyteArray loss,
                                                 jdoubleArray numbers, jdoubleArray result) {
    (void)self;
    jbyte *name = (*env)->GetByteArrayElements(env, loss, NULL);
    double *given = doubles(env, numbers), *out = doubles(env, result);
    mpigd_model *model = NULL;
    if (name && given && out) {
        const mpigd_fit_options options = {
            .loss = {(const char *)name, given[0], given[1], (int64_t)given[2]},
            .solver = (mpigd_solver)given[3],
            .l2 = given[4],
            .intercept = given[5] != 0.0,
            .standardize = given[6] != 0.0,
            .tol = given[7],
            .max_passes = given[8],
            .learning_rate = given[9],
        };
        mpigd_fit_result found;
        mpigd_error error;
        if (!failed(env, mpigd_fit_over(NULL, (const mpigd_slice *)(intptr_t)slice, &options, &model, &found, &error),
                    &error)) {
            const double all[] = {found.value, found.gradient_norm, found.passes, (double)found.steps,
                                  found.converged};
            memcpy(out, all, sizeof all);
        }
    }
    let_go(env, result, out, 0);
    let_go(env, numbers, given, JNI_ABORT);
    if (name)
        (*env)->ReleaseByteArrayElements(env, loss, name, JNI_ABORT);
    return (jlong)(intptr_t)model;
}
