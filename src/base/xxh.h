/* xxHash. Its plain functions use what every processor of the kind has; on x86 the library may hold wider ones, several
 * times as fast, that are chosen at run time. The hashes are the same. */
#ifndef FPR_XXH_H
#define FPR_XXH_H

#include <xxhash.h>
#ifdef FPR_XXH_DISPATCH
#include <xxh_x86dispatch.h>
#endif

#endif
