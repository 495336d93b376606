/* Rows in the layout of kernels, and the kernels that add up over them. What stands here stands in kernels/slices.py, too:
 * the same shapes of scratch, so that sums have the same bits. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

enum {
    SMALLEST_BLOCK = 16,
    LARGEST_BLOCK = 4096,
    MOST_BLOCKS = 1 << 24,
    TILE_ROWS = 64,
    LEAST_ROWS = 16,
    LANES = 8,
    TOGETHER = 8,
    TOGETHER_BYTES = 1 << 19
};

static int64_t most(int64_t rows, int64_t blocks) {
    int64_t each = rows / blocks > 1 ? rows / blocks : 1, power = 1;
    while (power * 2 <= each) {
        power *= 2;
    }
    return power;
}

int64_t mpigd_block_rows(int64_t total_rows) {
    int64_t rows = most(total_rows, 64);
    rows = rows < SMALLEST_BLOCK ? SMALLEST_BLOCK : rows > LARGEST_BLOCK ? LARGEST_BLOCK : rows;
    while (rows < total_rows && rows * MOST_BLOCKS < total_rows) {
        rows *= 2;
    }
    return rows;
}

int64_t mpigd_block_rows_csr(int64_t total_rows, int64_t columns, int64_t total_stored) {
    int64_t rows = mpigd_block_rows(total_rows);
    /* Products of such numbers may exceed 64 bits; what is compared does not exceed the 64 of a long double. */
    while (rows < most(total_rows, 16) &&
           (long double)rows * (long double)total_stored < 32.0L * (long double)total_rows * (long double)columns) {
        rows *= 2;
    }
    return rows;
}

void mpigd_slice_free(mpigd_slice *slice) {
    if (slice) {
        free(slice->y);
        free(slice->weight);
        free(slice->offset);
        free(slice->x);
        free(slice->columns);
        free(slice->starts);
        free(slice);
    }
}

int64_t mpigd_slice_rows(const mpigd_slice *slice) { return slice->n; }

int64_t mpigd_slice_columns(const mpigd_slice *slice) { return slice->d; }

/* Per-row numbers in tiles, with padding; NULL with a message. */
static double *per_row(const mpigd_slice *slice, const char *name, const double *values, double padding,
                       mpigd_status *status, mpigd_error *error) {
    if (*status != MPIGD_OK || !values) {
        return NULL;
    }
    int64_t room = slice->tiles * slice->rows;
    double *result = mpigd_zeros(room, sizeof *result);
    if (!result) {
        *status = mpigd_no_memory(error);
        return NULL;
    }
    for (int64_t i = 0; i < slice->n; i++) {
        if (!isfinite(values[i])) {
            *status = mpigd_fail(error, MPIGD_DATA, "%s of row %lld is not a finite number", name,
                                 (long long)(slice->first_row + i));
            break;
        }
        result[i] = values[i]; /* one number a row: tiles follow each other as rows do */
    }
    for (int64_t i = slice->n; i < room; i++) {
        result[i] = padding;
    }
    return result;
}

/* A slice without X. */
static mpigd_status begin(mpigd_type type, int64_t rows, int64_t columns, const double *y, const double *weight,
                          const double *offset, int64_t first_row, int64_t total_rows, int64_t block,
                          mpigd_slice **made, mpigd_error *error) {
    if (!mpigd_type_name(type)) {
        return mpigd_fail(error, MPIGD_USAGE, "type %d of X is none of mpigd_type", (int)type);
    }
    if (rows < 0 || columns < 0 || first_row < 0 || total_rows < 1 || first_row > total_rows - rows) {
        return mpigd_fail(error, MPIGD_USAGE, "rows %lld … %lld of %lld, %lld columns: there are no such rows",
                          (long long)first_row, (long long)(first_row + rows), (long long)total_rows,
                          (long long)columns);
    }
    if ((first_row % block && rows) || (rows % block && first_row + rows != total_rows)) {
        return mpigd_fail(error, MPIGD_USAGE,
                          "rows %lld … %lld are not whole blocks: those of %lld rows have %lld each",
                          (long long)first_row, (long long)(first_row + rows), (long long)total_rows,
                          (long long)block);
    }
    if (rows && !y) {
        return mpigd_fail(error, MPIGD_USAGE, "there is no y");
    }
    mpigd_slice *slice = mpigd_zeros(1, sizeof *slice);
    if (!slice) {
        return mpigd_no_memory(error);
    }
    slice->type = type;
    slice->n = rows;
    slice->d = columns;
    slice->first_row = first_row;
    slice->total_rows = total_rows;
    slice->block = block;
    slice->rows = block >= TILE_ROWS ? TILE_ROWS : LEAST_ROWS;
    slice->tiles = (rows + slice->rows - 1) / slice->rows;
    mpigd_status status = MPIGD_OK;
    slice->y = per_row(slice, "y", rows ? y : NULL, 1.0, &status, error);
    slice->weight = per_row(slice, "the weight", rows ? weight : NULL, 0.0, &status, error);
    slice->offset = per_row(slice, "the offset", rows ? offset : NULL, 0.0, &status, error);
    slice->whole = true;
    for (int64_t i = 0; status == MPIGD_OK && i < rows; i++) {
        slice->least = i && slice->least < y[i] ? slice->least : y[i];
        slice->most = i && slice->most > y[i] ? slice->most : y[i];
        slice->whole = slice->whole && y[i] == floor(y[i]);
    }
    for (int64_t i = 0; status == MPIGD_OK && weight && i < rows; i++) {
        if (weight[i] < 0.0) {
            status = mpigd_fail(error, MPIGD_DATA, "the weight of row %lld is negative", (long long)(first_row + i));
        }
    }
    if (status != MPIGD_OK) {
        mpigd_slice_free(slice);
        return status;
    }
    *made = slice;
    return MPIGD_OK;
}

typedef void (*fill_of)(const void *chunk, int64_t m, int64_t d, int64_t start, void *tiles, int64_t t, int64_t d1,
                        int64_t rows, double *check, int64_t one, int64_t eight);

mpigd_status mpigd_slice_dense(mpigd_type type, int64_t rows, int64_t columns, const void *x, const double *y,
                               const double *weight, const double *offset, int64_t first_row, int64_t total_rows,
                               mpigd_slice **made, mpigd_error *error) {
    mpigd_begin(error);
    *made = NULL;
    mpigd_slice *slice;
    mpigd_status status = begin(type, rows, columns, y, weight, offset, first_row, total_rows,
                                mpigd_block_rows(total_rows), &slice, error);
    if (status != MPIGD_OK) {
        return status;
    }
    fill_of fill = (fill_of)mpigd_find(error, "fill_tiles %s %lld", mpigd_type_name(type), (long long)slice->rows);
    if (!fill) {
        mpigd_slice_free(slice);
        return MPIGD_USAGE;
    }
    size_t item = mpigd_type_size(type);
    int64_t of_tile = columns * slice->rows;
    slice->x = columns < INT64_MAX / (slice->tiles * slice->rows + 1) ? mpigd_zeros(slice->tiles * of_tile, item) : NULL;
    if (!slice->x) {
        mpigd_slice_free(slice);
        return mpigd_no_memory(error);
    }
    double check[LANES];
    for (int64_t first = 0; first < rows && columns; first += slice->block) {
        int64_t count = rows - first < slice->block ? rows - first : slice->block;
        const char *chunk = (const char *)x + (size_t)(first * columns) * item;
        fill(chunk, count, columns, first, slice->x, slice->tiles, columns, slice->rows, check, 1, LANES);
        for (int lane = 0; lane < LANES; lane++) {
            if (!isfinite(check[lane])) {
                int64_t at = 0;
                while (isfinite(mpigd_number(type, chunk, at))) {
                    at++;
                }
                status = mpigd_fail(error, MPIGD_DATA, "row %lld, column %lld of X is not a finite number",
                                    (long long)(first_row + first + at / columns), (long long)(at % columns));
                mpigd_slice_free(slice);
                return status;
            }
        }
    }
    *made = slice;
    return MPIGD_OK;
}

mpigd_status mpigd_check_starts(const int64_t *starts, int64_t n, int64_t first, mpigd_error *error) {
    if (starts[0] < 0) {
        return mpigd_fail(error, MPIGD_DATA, "starts of sparse rows begin below zero");
    }
    for (int64_t i = 0; i < n; i++) {
        if (starts[i + 1] < starts[i]) {
            return mpigd_fail(error, MPIGD_DATA, "starts of sparse rows do not ascend at row %lld", (long long)(first + i));
        }
    }
    return MPIGD_OK;
}

mpigd_status mpigd_slice_csr(mpigd_type type, int64_t rows, int64_t columns, const int64_t *starts,
                             const int32_t *indices, const void *values, const double *y, const double *weight,
                             const double *offset, int64_t first_row, int64_t total_rows, int64_t total_stored,
                             mpigd_slice **made, mpigd_error *error) {
    mpigd_begin(error);
    *made = NULL;
    if (columns > INT32_MAX || total_stored < 0) {
        return mpigd_fail(error, MPIGD_USAGE, "%lld columns and %lld numbers: too many, or less than none",
                          (long long)columns, (long long)total_stored);
    }
    mpigd_slice *slice;
    mpigd_status status = begin(type, rows, columns, y, weight, offset, first_row, total_rows,
                                mpigd_block_rows_csr(total_rows, columns, total_stored), &slice, error);
    if (status != MPIGD_OK) {
        return status;
    }
    /* There are sparse kernels for two types; widening a number on the way changes no bit of a result. */
    slice->sparse = true;
    slice->type = type == MPIGD_FLOAT32 ? MPIGD_FLOAT32 : MPIGD_FLOAT64;
    if (rows && (status = mpigd_check_starts(starts, rows, first_row, error)) != MPIGD_OK) {
        mpigd_slice_free(slice);
        return status;
    }
    int64_t begin_at = rows ? starts[0] : 0, count = rows ? starts[rows] - begin_at : 0;
    slice->starts = mpigd_zeros(rows + 1, sizeof *slice->starts);
    slice->columns = mpigd_zeros(count, sizeof *slice->columns);
    slice->x = mpigd_zeros(count, mpigd_type_size(slice->type));
    if (!slice->starts || !slice->columns || !slice->x) {
        mpigd_slice_free(slice);
        return mpigd_no_memory(error);
    }
    for (int64_t i = 0; i < rows && status == MPIGD_OK; i++) {
        slice->starts[i + 1] = starts[i + 1] - begin_at;
        for (int64_t m = starts[i]; m < starts[i + 1]; m++) {
            double value = mpigd_number(type, values, m);
            if (indices[m] < 0 || indices[m] >= columns || !isfinite(value)) {
                status = mpigd_fail(error, MPIGD_DATA, "row %lld of X has %g in column %lld; there are %lld columns",
                                    (long long)(first_row + i), value, (long long)indices[m], (long long)columns);
                break;
            }
            slice->columns[m - begin_at] = indices[m];
            if (slice->type == MPIGD_FLOAT32) {
                ((float *)slice->x)[m - begin_at] = (float)value;
            } else {
                ((double *)slice->x)[m - begin_at] = value;
            }
        }
    }
    if (status != MPIGD_OK) {
        mpigd_slice_free(slice);
        return status;
    }
    *made = slice;
    return MPIGD_OK;
}

int64_t mpigd_gradient_count(int64_t d, int64_t outputs) { return d * outputs + 2 * outputs + 1; }

int64_t mpigd_second_order_count(int64_t d) { return d * (d + 1) / 2 + 2 * d + 4; }

/* Arguments of kernels: an array as its address and its shape. */
#define ONE double *, int64_t
#define TWO double *, int64_t, int64_t
#define THREE double *, int64_t, int64_t, int64_t
#define SUMS int64_t *, int64_t, int64_t
#define DENSE void *, int64_t, int64_t, int64_t
#define SPARSE void *, int64_t, int32_t *, int64_t, int64_t *, int64_t
#define HEAD int64_t, double, double
#define RANGE int64_t, int64_t, int64_t, int64_t /* n, first, last, block */

typedef void (*sweep_of)(HEAD, DENSE, RANGE, THREE, THREE, THREE, TWO, ONE, THREE, TWO, TWO, TWO, SUMS);
typedef void (*sparse_sweep_of)(HEAD, SPARSE, RANGE, THREE, THREE, THREE, TWO, ONE, THREE, TWO, TWO, TWO, SUMS);
typedef void (*second_of)(HEAD, DENSE, RANGE, THREE, THREE, THREE, TWO, ONE, TWO, TWO, TWO, SUMS);
typedef void (*sparse_second_of)(HEAD, SPARSE, RANGE, THREE, THREE, THREE, TWO, ONE, TWO, TWO, TWO, SUMS);
typedef void (*moments_of)(DENSE, RANGE, THREE, ONE, TWO, TWO, SUMS);
typedef void (*sparse_moments_of)(SPARSE, RANGE, THREE, ONE, TWO, TWO, TWO, SUMS);
typedef void (*rows_of)(TWO, int64_t, ONE, SUMS);

#define PER_ROW(values) slice->values, slice->values ? slice->tiles : 0, 1, slice->rows
#define DENSE_X(d) slice->x, slice->tiles, d, slice->rows
#define SPARSE_X slice->x, slice->starts[slice->n], slice->columns, slice->starts[slice->n], slice->starts, slice->n + 1

/* Rows of 0 … n - 1 without a number, for sums over no column. */
static int64_t *no_numbers(const mpigd_slice *slice, int64_t d) {
    return slice->sparse && d == 0 && slice->d ? mpigd_zeros(slice->n + 1, sizeof(int64_t)) : NULL;
}

static const char *type_of(const mpigd_slice *slice) { return mpigd_type_name(slice->type); }

static void (*stage_of(const char *name, const mpigd_slice *slice, mpigd_error *error))(void) {
    return mpigd_find(error, "%s float64 float64 %lld", name, (long long)slice->rows);
}

mpigd_status mpigd_sweep(const mpigd_slice *slice, const loss_of *loss, operation what, int64_t d, const double *coef,
                         const double *intercept, double *kept, sums *s, mpigd_error *error) {
    const mpigd_loss_entry *entry = loss->entry;
    int64_t outputs = loss->outputs, predictors = what == PRODUCT_ANEW ? 2 * outputs : outputs, rows = slice->rows;
    int64_t products = what == VALUE ? 0 : d, per_block = slice->block / rows, tiles = slice->tiles;
    bool pipelined = !slice->sparse && predictors == 1 && what != VALUE;
    const char *type = type_of(slice);
    void (*stage)(void) =
        stage_of(what == PRODUCT ? entry->product : what == PRODUCT_ANEW ? entry->anew : entry->tile, slice, error);
    void (*kernel)(void) = NULL;
    if (slice->sparse) {
        kernel = mpigd_find(error, "sparse_sweep %s int32 float64 float64 %lld %s", type, (long long)rows,
                            predictors == 1 ? "True" : "False");
    } else {
        kernel = mpigd_find(error, "%s %s float64 float64 %lld", pipelined ? "pipelined_sweep" : "sweep", type,
                            (long long)rows);
    }
    if (!stage || !kernel) {
        return MPIGD_USAGE;
    }
    int64_t together = 1;
    if (!slice->sparse) {
        int64_t bytes = d * rows * (int64_t)mpigd_type_size(slice->type);
        together = TOGETHER_BYTES / (bytes > 1 ? bytes : 1);
        together = together < 1 ? 1 : together > TOGETHER ? TOGETHER : together;
    }
    int64_t right = together * outputs;
    int64_t lanes = 2 * outputs + 1 + (pipelined ? d : 0), scratch = predictors + outputs + 1 + right;
    /* A stage that computes curvature anew leaves it for one tile at a time. */
    int64_t passing = kept ? 0 : what == PRODUCT_ANEW ? outputs : 0;
    double *leave = kept ? kept : mpigd_zeros(passing * rows, sizeof *leave);
    double *work = mpigd_zeros((scratch * rows) + lanes * LANES + products * outputs, sizeof *work);
    int64_t *none = no_numbers(slice, d);
    mpigd_status status = leave && work && (none || !slice->sparse || d || !slice->d) ? MPIGD_OK : mpigd_no_memory(error);
    if (status == MPIGD_OK) {
        int64_t kept_tiles = kept ? tiles : 1, kept_rows = kept ? outputs : passing;
        double *of_lanes = work + scratch * rows, *of_products = of_lanes + lanes * LANES;
        /* Curvature that was kept has weights in it. */
        mpigd_slice bare = *slice;
        if (what == PRODUCT) {
            bare.weight = bare.offset = NULL;
        }
        slice = &bare;
        int64_t address = (int64_t)(uintptr_t)stage;
#define TAIL                                                                                                       \
    slice->n, 0, tiles, per_block, slice->y, tiles, 1, rows, PER_ROW(weight), PER_ROW(offset), (double *)coef, d, \
        predictors, (double *)intercept, predictors, leave, kept_tiles, kept_rows, rows, work, scratch, rows,      \
        of_lanes, lanes, LANES, of_products, products, outputs, s->total, 5, s->count
        if (slice->sparse) {
            int64_t numbers = none ? 0 : slice->starts[slice->n];
            ((sparse_sweep_of)kernel)(address, loss->parameter, loss->smoothing, slice->x, numbers, slice->columns,
                                      numbers, none ? none : slice->starts, slice->n + 1, TAIL);
        } else {
            ((sweep_of)kernel)(address, loss->parameter, loss->smoothing, DENSE_X(d), TAIL);
        }
#undef TAIL
    }
    free(none);
    free(work);
    if (!kept) {
        free(leave);
    }
    return status;
}

mpigd_status mpigd_second_order(const mpigd_slice *slice, const loss_of *loss, int64_t d, const double *coef,
                                double intercept, sums *s, mpigd_error *error) {
    int64_t rows = slice->rows, tiles = slice->tiles, per_block = slice->block / rows;
    void (*stage)(void) = stage_of(loss->entry->tile, slice, error);
    void (*kernel)(void) = slice->sparse ? mpigd_find(error, "sparse_second_order %s int32 float64 float64 %lld",
                                                      type_of(slice), (long long)rows)
                                         : mpigd_find(error, "second_order %s float64 float64 %lld", type_of(slice),
                                                      (long long)rows);
    if (!stage || !kernel) {
        return MPIGD_USAGE;
    }
    int64_t scratch = 3 + (slice->sparse ? 2 : TOGETHER * (d + 2));
    double *work = mpigd_zeros(scratch * rows + 4 * LANES + d * (d + 2), sizeof *work);
    int64_t *none = no_numbers(slice, d);
    mpigd_status status = work && (none || !slice->sparse || d || !slice->d) ? MPIGD_OK : mpigd_no_memory(error);
    if (status == MPIGD_OK) {
        double *lanes = work + scratch * rows, *products = lanes + 4 * LANES;
        int64_t address = (int64_t)(uintptr_t)stage;
#define TAIL                                                                                                         \
    slice->n, 0, tiles, per_block, slice->y, tiles, 1, rows, PER_ROW(weight), PER_ROW(offset), (double *)coef, d, 1, \
        &intercept, 1, work, scratch, rows, lanes, 4, LANES, products, d, d + 2, s->total, 5, s->count
        if (slice->sparse) {
            int64_t numbers = none ? 0 : slice->starts[slice->n];
            ((sparse_second_of)kernel)(address, loss->parameter, loss->smoothing, slice->x, numbers, slice->columns,
                                       numbers, none ? none : slice->starts, slice->n + 1, TAIL);
        } else {
            ((second_of)kernel)(address, loss->parameter, loss->smoothing, DENSE_X(d), TAIL);
        }
#undef TAIL
    }
    free(none);
    free(work);
    return status;
}

/* The first word that numpy's Philox draws for seed 0, epoch 0 and a block (J. Salmon et al., "Parallel random numbers: as
 * easy as 1, 2, 3", SC 2011). */
static uint64_t philox(uint64_t block) {
    uint64_t c[4] = {1, 0, 0, block}, key[2] = {0, 0};
    for (int round = 0; round < 10; round++) {
        unsigned __int128 a = (unsigned __int128)0xD2E7470EE14C6C93u * c[0];
        unsigned __int128 b = (unsigned __int128)0xCA5A826395121157u * c[2];
        uint64_t next[4] = {(uint64_t)(b >> 64) ^ c[1] ^ key[0], (uint64_t)b, (uint64_t)(a >> 64) ^ c[3] ^ key[1],
                            (uint64_t)a};
        memcpy(c, next, sizeof c);
        key[0] += 0x9E3779B97F4A7C15u;
        key[1] += 0xBB67AE8584CAA73Bu;
    }
    return c[0];
}

mpigd_status mpigd_moments(const mpigd_slice *slice, bool of_y, const double *shift, int64_t one_in, sums *s,
                           mpigd_error *error) {
    int64_t rows = slice->rows, d = of_y ? 1 : slice->d, per_block = slice->block / rows;
    bool sparse = slice->sparse && !of_y;
    void (*kernel)(void) = sparse ? mpigd_find(error, "sparse_column_moments %s int32 float64 %lld", type_of(slice),
                                               (long long)rows)
                                  : mpigd_find(error, "column_moments %s float64 %lld",
                                               of_y ? "float64" : type_of(slice), (long long)rows);
    if (!kernel) {
        return MPIGD_USAGE;
    }
    int64_t lanes = sparse ? 1 : 2 * d + 1;
    double *work = mpigd_zeros(rows + lanes * LANES + (sparse ? 2 * d : 0), sizeof *work);
    if (!work) {
        return mpigd_no_memory(error);
    }
    double *of_lanes = work + rows, *products = of_lanes + lanes * LANES;
    for (int64_t first = 0; first < slice->tiles;) {
        int64_t last = slice->tiles;
        if (one_in > 1) {
            int64_t block = (slice->first_row / slice->block) + first / per_block;
            last = first + per_block < last ? first + per_block : last;
            if ((int64_t)(philox((uint64_t)(block / one_in)) % (uint64_t)one_in) != block % one_in) {
                first = last;
                continue;
            }
        }
#define TAIL slice->n, first, last, per_block, PER_ROW(weight), (double *)shift, d, work, 1, rows, of_lanes, lanes, LANES
        if (sparse) {
            ((sparse_moments_of)kernel)(SPARSE_X, TAIL, products, d, 2, s->total, 5, s->count);
        } else {
            void *x = of_y ? slice->y : slice->x;
            ((moments_of)kernel)(x, slice->tiles, d, rows, TAIL, s->total, 5, s->count);
        }
#undef TAIL
        first = last;
    }
    free(work);
    return MPIGD_OK;
}

mpigd_status mpigd_weights(const mpigd_slice *slice, sums *s, mpigd_error *error) {
    rows_of add_rows = (rows_of)mpigd_find(error, "add_rows");
    if (!add_rows) {
        return MPIGD_USAGE;
    }
    double total;
    if (slice->weight) {
        add_rows(slice->weight, slice->n, 1, slice->block, &total, 1, s->total, 5, s->count);
        return MPIGD_OK;
    }
    for (int64_t first = 0; first < slice->n; first += slice->block) {
        double count = (double)(slice->n - first < slice->block ? slice->n - first : slice->block);
        add_rows(&count, 1, 1, 1, &total, 1, s->total, 5, s->count);
    }
    return MPIGD_OK;
}
