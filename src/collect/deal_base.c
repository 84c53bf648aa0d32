/* Dealing for every processor. */
#define NAME(f) f##_base
#define TABLE deal_kernels_base
#include "collect/deal_body.h"
