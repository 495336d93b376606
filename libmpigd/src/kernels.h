/* Kernels by name, and losses: what `python -m mpigd_kernels.emit` writes tables of. */
#ifndef MPIGD_KERNELS_H
#define MPIGD_KERNELS_H

#include <stddef.h>

/* name : as `Kernel.named` in Python: of the function, then the types that vary. */
typedef struct {
    const char *name;
    void (*function)(void);
} mpigd_kernel_entry;

/* A loss, as `mpigd_kernels.losses.Loss`. parameter : its name, empty for none, with default and the open interval that
 * it lies in.  tile, product, anew : names of its stages, without types. */
typedef struct {
    const char *name, *target, *link, *parameter;
    double usual, low, high;
    int smoothed;
    const char *tile, *product, *anew;
} mpigd_loss_entry;

extern const mpigd_loss_entry mpigd_losses[];
extern const size_t mpigd_losses_count;
extern const char mpigd_sources[];

#endif
