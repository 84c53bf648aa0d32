/* Reports made from formulas, for tests of the renderers: every field set, awkward values included. */
#ifndef FAKE_REPORT_H
#define FAKE_REPORT_H

#include "filterprune.h"

typedef enum fake_kind {
    FAKE_RICH,     /* groups 3x3, 7x7, 3x3x3, 5, 1x1 and 16x16; binary layers, dead filters, hostile names, warnings */
    FAKE_INSPECT,  /* the same without an output */
    FAKE_RESNET50, /* 53 layers, 1x1, 3x3 and 7x7, nothing unusual */
    FAKE_HUGE,     /* 3,000 layers */
    FAKE_TINY,     /* one layer of three kernels, all sparse: no spread anywhere */
    FAKE_EMPTY     /* a file without layers */
} fake_kind;

#define FAKE_HOSTILE_NAME "<script>alert(\"x\")</script>&'\x01\n\x7f \xe2\x80\xae evil \xc3\xa9\xff.weight"

fpr_report *fake_report(fake_kind kind);
fpr_comparison *fake_comparison(size_t models, unsigned side); /* kernels of side x side weights */
fpr_verification *fake_verification(void);

#endif
