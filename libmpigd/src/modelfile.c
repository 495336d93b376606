/* Model files (HDF5): as mpigd/modelfile.py. */
#include <errno.h>
#include <fcntl.h>
#include <hdf5.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

#define FORMAT "mpigd-model-1"

/* HDF5 is called by one thread at a time: few builds of it can do with more. */
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

/* HDF5 prints its errors unless it is told not to; what was set before comes back. */
typedef struct {
    H5E_auto2_t function;
    void *data;
} printing;

static printing enter(void) {
    printing before;
    pthread_mutex_lock(&one_at_a_time);
    H5Eget_auto2(H5E_DEFAULT, &before.function, &before.data);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    return before;
}

static void leave(printing before) {
    H5Eset_auto2(H5E_DEFAULT, before.function, before.data);
    pthread_mutex_unlock(&one_at_a_time);
}

static mpigd_status damaged(const char *path, const char *what, mpigd_error *error) {
    return mpigd_fail(error, MPIGD_DATA, "%.256s: damaged model: %s", path, what);
}

/* ---- reading ---- */

/* An attribute that is text, or NULL. */
static char *text_of(hid_t file, const char *name) {
    hid_t attribute = H5Aopen(file, name, H5P_DEFAULT), type = -1;
    char *result = NULL;
    if (attribute >= 0 && (type = H5Aget_type(attribute)) >= 0 && H5Tget_class(type) == H5T_STRING) {
        if (H5Tis_variable_str(type) > 0) {
            char *found = NULL;
            hid_t memory = H5Tcopy(type);
            if (H5Aread(attribute, memory, &found) >= 0 && found) {
                result = mpigd_copy(found);
            }
            H5free_memory(found);
            H5Tclose(memory);
        } else {
            result = mpigd_zeros((int64_t)H5Tget_size(type) + 1, 1);
            if (result && H5Aread(attribute, type, result) < 0) {
                free(result);
                result = NULL;
            }
        }
    }
    if (type >= 0) {
        H5Tclose(type);
    }
    if (attribute >= 0) {
        H5Aclose(attribute);
    }
    return result;
}

/* Numbers of a dataset as doubles, of at most two dimensions, with their shape; NULL where there are none. */
static double *numbers_of(hid_t place, const char *name, int *dimensions, hsize_t shape[2]) {
    enum { MOST = 1 << 28 };
    hid_t dataset = H5Dopen2(place, name, H5P_DEFAULT), space = dataset >= 0 ? H5Dget_space(dataset) : -1;
    double *result = NULL;
    shape[0] = shape[1] = 1;
    *dimensions = space >= 0 ? H5Sget_simple_extent_ndims(space) : -1;
    if (*dimensions >= 0 && *dimensions <= 2 && H5Sget_simple_extent_dims(space, shape, NULL) >= 0 &&
        shape[0] < MOST && shape[1] < MOST && shape[0] * shape[1] < MOST) {
        result = mpigd_zeros((int64_t)(shape[0] * shape[1]), sizeof *result);
        hid_t type = H5Dget_type(dataset);
        if (result && H5Tget_class(type) == H5T_ENUM) { /* truth values, which are bytes */
            int8_t *bytes = mpigd_zeros((int64_t)(shape[0] * shape[1]), 1);
            if (bytes && H5Tget_size(type) == 1 && H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes) >= 0) {
                for (hsize_t i = 0; i < shape[0] * shape[1]; i++) {
                    result[i] = bytes[i];
                }
            } else {
                free(result);
                result = NULL;
            }
            free(bytes);
        } else if (result && H5Dread(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, result) < 0) {
            free(result);
            result = NULL;
        }
        H5Tclose(type);
    }
    if (space >= 0) {
        H5Sclose(space);
    }
    if (dataset >= 0) {
        H5Dclose(dataset);
    }
    return result;
}

static void add_numbers(sha256 *hash, const double *values, hsize_t count) {
    for (hsize_t i = 0; i < count; i++) {
        uint64_t bits;
        unsigned char bytes[8];
        memcpy(&bits, values + i, sizeof bits);
        for (int b = 0; b < 8; b++) {
            bytes[b] = (unsigned char)(bits >> 8 * b);
        }
        mpigd_sha256_add(hash, bytes, sizeof bytes);
    }
}

/* Add all datasets of a group, by name, if there is one. */
static bool add_group(sha256 *hash, hid_t file, const char *name) {
    if (H5Lexists(file, name, H5P_DEFAULT) <= 0) {
        return true;
    }
    hid_t group = H5Gopen2(file, name, H5P_DEFAULT);
    H5G_info_t info;
    bool good = group >= 0 && H5Gget_info(group, &info) >= 0;
    for (hsize_t i = 0; good && i < info.nlinks; i++) {
        char member[256];
        hsize_t shape[2];
        int dimensions;
        ssize_t length =
            H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, member, sizeof member, H5P_DEFAULT);
        double *values = length > 0 && length < (ssize_t)sizeof member ? numbers_of(group, member, &dimensions, shape) : NULL;
        good = values != NULL;
        if (good) {
            add_numbers(hash, values, shape[0] * shape[1]);
        }
        free(values);
    }
    if (group >= 0) {
        H5Gclose(group);
    }
    return good;
}

/* [config, result] as the checksum has them. */
static bool add_text(sha256 *hash, const char *config, const char *result) {
    char *first = mpigd_json_sorted(config), *second = mpigd_json_sorted(result);
    bool good = first && second;
    if (good) {
        mpigd_sha256_add(hash, "[", 1);
        mpigd_sha256_add(hash, first, strlen(first));
        mpigd_sha256_add(hash, ", ", 2);
        mpigd_sha256_add(hash, second, strlen(second));
        mpigd_sha256_add(hash, "]", 1);
    }
    free(first);
    free(second);
    return good;
}

static mpigd_status read_names(hid_t file, mpigd_model *model, const char *path, mpigd_error *error) {
    hid_t dataset = H5Dopen2(file, "feature_names", H5P_DEFAULT), space = dataset >= 0 ? H5Dget_space(dataset) : -1;
    mpigd_status status = damaged(path, "it has no names of columns", error);
    hid_t type = dataset >= 0 ? H5Dget_type(dataset) : -1;
    if (type >= 0 && H5Sget_simple_extent_npoints(space) == model->d && H5Tget_class(type) == H5T_STRING &&
        H5Tis_variable_str(type) > 0) {
        char **found = mpigd_zeros(model->d, sizeof *found);
        if (!found) {
            status = mpigd_no_memory(error);
        } else if (model->d == 0 || H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, found) >= 0) {
            size_t length = 1;
            for (int64_t j = 0; j < model->d; j++) {
                length += strlen(found[j] ? found[j] : "") + 1;
            }
            char *at = model->names = malloc(length);
            status = at ? MPIGD_OK : mpigd_no_memory(error);
            for (int64_t j = 0; at && j < model->d; j++) {
                model->features[j] = strcpy(at, found[j] ? found[j] : "");
                at += strlen(at) + 1;
            }
            if (model->d) {
                H5Dvlen_reclaim(type, space, H5P_DEFAULT, found);
            }
        }
        free(found);
    }
    if (type >= 0) {
        H5Tclose(type);
    }
    if (space >= 0) {
        H5Sclose(space);
    }
    if (dataset >= 0) {
        H5Dclose(dataset);
    }
    if (status == MPIGD_OK) {
        mpigd_begin(error);
    }
    return status;
}

static mpigd_status read_file(hid_t file, const char *path, mpigd_model **made, mpigd_error *error) {
    int coef_dimensions, dimensions;
    hsize_t coef_shape[2], shape[2], classes[2];
    sha256 hash;
    char *format = text_of(file, "format"), *checksum = text_of(file, "checksum"), hex[65];
    double *coef = NULL, *intercept = NULL, *labels = NULL;
    mpigd_status status = MPIGD_OK;
    mpigd_model *model = NULL;
    if (!format || strcmp(format, FORMAT) != 0) {
        status = mpigd_fail(error, MPIGD_DATA, "%.256s: not a model of mpigd (no attribute format = " FORMAT ")", path);
    } else {
        coef = numbers_of(file, "coef", &coef_dimensions, coef_shape);
        intercept = numbers_of(file, "intercept", &dimensions, shape);
        labels = numbers_of(file, "classes", &dimensions, classes);
        if (!coef || !intercept || !labels || coef_dimensions < 1 || shape[0] != coef_shape[1] || shape[1] != 1 ||
            coef_shape[1] < 1) {
            status = damaged(path, "coefficients, intercept or classes are missing or do not go together", error);
        }
    }
    if (status == MPIGD_OK) {
        status = mpigd_model_make((int64_t)coef_shape[0], (int64_t)coef_shape[1], (int64_t)classes[0], &model, error);
    }
    if (status == MPIGD_OK) {
        memcpy(model->coef, coef, (size_t)(coef_shape[0] * coef_shape[1]) * sizeof *coef);
        memcpy(model->intercept, intercept, (size_t)coef_shape[1] * sizeof *intercept);
        memcpy(model->labels, labels, (size_t)classes[0] * sizeof *labels);
        model->several = coef_dimensions == 2;
        model->loss = text_of(file, "loss");
        model->link = text_of(file, "link");
        model->config = text_of(file, "config");
        model->result = text_of(file, "result");
        mpigd_sha256_begin(&hash);
        add_numbers(&hash, coef, coef_shape[0] * coef_shape[1]);
        add_numbers(&hash, intercept, coef_shape[1]);
        bool whole = model->loss && model->link && model->config && model->result && checksum &&
                     add_group(&hash, file, "fit") && add_group(&hash, file, "path") &&
                     add_text(&hash, model->config, model->result);
        mpigd_sha256_hex(&hash, hex);
        int64_t expected = model->several ? model->outputs : 2;
        if (!whole || strcmp(hex, checksum) != 0) {
            status = damaged(path, "what it holds does not match its checksum", error);
        } else if (model->classes && model->classes != expected) {
            status = damaged(path, "coefficients and classes do not go together", error);
        } else {
            status = read_names(file, model, path, error);
            model->threshold = mpigd_json_number(model->result, "threshold");
        }
    }
    free(format);
    free(checksum);
    free(coef);
    free(intercept);
    free(labels);
    if (status != MPIGD_OK) {
        mpigd_model_free(model);
        return status;
    }
    *made = model;
    return MPIGD_OK;
}

mpigd_status mpigd_model_read(const char *path, mpigd_model **model, mpigd_error *error) {
    mpigd_begin(error);
    *model = NULL;
    if (!path) {
        return mpigd_fail(error, MPIGD_USAGE, "the path is NULL");
    }
    if (access(path, R_OK) != 0) {
        return mpigd_fail(error, MPIGD_DATA, "%.256s: can't be read: %s", path, strerror(errno));
    }
    printing before = enter();
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    mpigd_status status = file < 0 ? mpigd_fail(error, MPIGD_DATA, "%.256s: not an HDF5 file, or damaged", path)
                                   : read_file(file, path, model, error);
    if (file >= 0) {
        H5Fclose(file);
    }
    leave(before);
    return status;
}

/* ---- writing ---- */

static bool put_text(hid_t file, const char *name, const char *text) {
    hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
    H5Tset_size(type, H5T_VARIABLE);
    H5Tset_cset(type, H5T_CSET_UTF8);
    hid_t attribute = H5Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    bool good = attribute >= 0 && H5Awrite(attribute, type, &text) >= 0;
    if (attribute >= 0) {
        H5Aclose(attribute);
    }
    H5Sclose(space);
    H5Tclose(type);
    return good;
}

static bool put(hid_t file, const char *name, hid_t type, int dimensions, const hsize_t *shape, const void *values) {
    hid_t space = dimensions ? H5Screate_simple(dimensions, shape, NULL) : H5Screate(H5S_SCALAR);
    hid_t dataset = H5Dcreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    bool empty = dimensions && shape[0] == 0;
    bool good = dataset >= 0 && (empty || H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    if (dataset >= 0) {
        H5Dclose(dataset);
    }
    H5Sclose(space);
    return good;
}

static bool write_file(hid_t file, const mpigd_model *model) {
    sha256 hash;
    char hex[65];
    hsize_t shape[2] = {(hsize_t)model->d, (hsize_t)model->outputs}, classes[2] = {(hsize_t)model->classes, 1};
    hid_t names = H5Tcopy(H5T_C_S1);
    H5Tset_size(names, H5T_VARIABLE);
    H5Tset_cset(names, H5T_CSET_UTF8);
    bool good = put(file, "coef", H5T_NATIVE_DOUBLE, model->several ? 2 : 1, shape, model->coef) &&
                put(file, "intercept", H5T_NATIVE_DOUBLE, model->several ? 1 : 0, shape + 1, model->intercept) &&
                put(file, "classes", H5T_NATIVE_DOUBLE, 1, classes, model->labels) &&
                put(file, "feature_names", names, 1, shape, model->features);
    H5Tclose(names);
    good = good && put_text(file, "format", FORMAT) && put_text(file, "mpigd_version", mpigd_version()) &&
           put_text(file, "loss", model->loss) && put_text(file, "link", model->link) &&
           put_text(file, "config", model->config) && put_text(file, "result", model->result);
    mpigd_sha256_begin(&hash);
    add_numbers(&hash, model->coef, shape[0] * shape[1]);
    add_numbers(&hash, model->intercept, shape[1]);
    sha256 all = hash;
    mpigd_sha256_hex(&hash, hex);
    hex[32] = 0;
    good = good && put_text(file, "fingerprint", hex) && add_text(&all, model->config, model->result);
    mpigd_sha256_hex(&all, hex);
    return good && put_text(file, "checksum", hex);
}

static bool flushed(const char *path) {
    int descriptor = open(path, O_RDWR);
    bool good = descriptor >= 0 && fsync(descriptor) == 0;
    if (descriptor >= 0) {
        close(descriptor);
    }
    return good;
}

mpigd_status mpigd_model_write(const mpigd_model *model, const char *path, mpigd_error *error) {
    mpigd_begin(error);
    if (!model || !path) {
        return mpigd_fail(error, MPIGD_USAGE, "the model or the path is NULL");
    }
    size_t length = strlen(path) + 32;
    char *temporary = malloc(length);
    if (!temporary) {
        return mpigd_no_memory(error);
    }
    snprintf(temporary, length, "%s.%ld.partial", path, (long)getpid());
    printing before = enter();
    hid_t file = H5Fcreate(temporary, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    bool good = file >= 0 && write_file(file, model);
    good = file >= 0 && H5Fclose(file) >= 0 && good;
    leave(before);
    good = good && flushed(temporary) && rename(temporary, path) == 0;
    mpigd_status status =
        good ? MPIGD_OK : mpigd_fail(error, MPIGD_OUTPUT, "%.256s: can't be written: %s", path, strerror(errno));
    if (!good) {
        unlink(temporary);
    }
    free(temporary);
    return status;
}
