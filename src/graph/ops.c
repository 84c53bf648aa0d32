/* The operators that are known: how channels go through them, and how they are evaluated. */
#include "graph/inner.h"

#include <math.h>

#define P const double *p
static double f_relu(double x, P) { (void)p; return x > 0 ? x : 0; }
static double f_same(double x, P) { (void)p; return x; }
static double f_leaky(double x, P) { return x < 0 ? p[0] * x : x; }
static double f_clip(double x, P) { return x < p[0] ? p[0] : x > p[1] ? p[1] : x; }
static double f_sigmoid(double x, P) { (void)p; return 1 / (1 + exp(-x)); }
static double f_tanh(double x, P) { (void)p; return tanh(x); }
static double f_hard_sigmoid(double x, P) { double y = p[0] * x + p[1]; return y < 0 ? 0 : y > 1 ? 1 : y; }
static double f_hard_swish(double x, P) { double y = x / 6 + 0.5; (void)p; return x * (y < 0 ? 0 : y > 1 ? 1 : y); }
static double f_elu(double x, P) { return x < 0 ? p[0] * expm1(x) : x; }
static double f_celu(double x, P) { return x < 0 ? p[0] * expm1(x / p[0]) : x; }
static double f_selu(double x, P) { return p[1] * (x > 0 ? x : p[0] * expm1(x)); }
static double f_softplus(double x, P) { (void)p; return x > 30 ? x + log1p(exp(-x)) : log1p(exp(x)); }
static double f_softsign(double x, P) { (void)p; return x / (1 + fabs(x)); }
static double f_exp(double x, P) { (void)p; return exp(x); }
static double f_log(double x, P) { (void)p; return log(x); }
static double f_sqrt(double x, P) { (void)p; return sqrt(x); }
static double f_neg(double x, P) { (void)p; return -x; }
static double f_abs(double x, P) { (void)p; return fabs(x); }
static double f_erf(double x, P) { (void)p; return erf(x); }
static double f_inverse(double x, P) { (void)p; return 1 / x; }
static double f_floor(double x, P) { (void)p; return floor(x); }
static double f_ceil(double x, P) { (void)p; return ceil(x); }
static double f_sign(double x, P) { (void)p; return (x > 0) - (x < 0); }
static double f_sin(double x, P) { (void)p; return sin(x); }
static double f_cos(double x, P) { (void)p; return cos(x); }
static double f_mish(double x, P) { return x * tanh(f_softplus(x, p)); }
static double f_gelu(double x, P)
{
    return p[0] != 0 ? 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)))
                     : 0.5 * x * (1 + erf(x / M_SQRT2));
}
static double f_thresholded(double x, P) { return x > p[0] ? x : 0; }
static double f_round(double x, P) { (void)p; return nearbyint(x); } /* halves to even */
static double f_shrink(double x, P) { return x < -p[0] ? x + p[1] : x > p[0] ? x - p[1] : 0; }
static double f_not(double x, P) { (void)p; return x == 0; }
static double f_is_nan(double x, P) { (void)p; return isnan(x) != 0; }
#undef P

static double b_add(double a, double b) { return a + b; }
static double b_sub(double a, double b) { return a - b; }
static double b_mul(double a, double b) { return a * b; }
static double b_div(double a, double b) { return a / b; }
static double b_pow(double a, double b) { return pow(a, b); }
static double b_min(double a, double b) { return a < b ? a : b; }
static double b_max(double a, double b) { return a > b ? a : b; }

static double b_equal(double a, double b) { return a == b; }
static double b_greater(double a, double b) { return a > b; }
static double b_greater_or_equal(double a, double b) { return a >= b; }
static double b_less(double a, double b) { return a < b; }
static double b_less_or_equal(double a, double b) { return a <= b; }
static double b_and(double a, double b) { return a != 0 && b != 0; }
static double b_or(double a, double b) { return a != 0 || b != 0; }
static double b_xor(double a, double b) { return (a != 0) != (b != 0); }

#define UNARY(name, f) {name, WAY_UNARY, run_unary, f, NULL, LIKE_FIRST}
#define NARY(name, f) {name, WAY_NARY, run_nary, NULL, f, LIKE_FIRST}
#define OTHER(name, way, run) {name, way, run, NULL, NULL, LIKE_FIRST}
#define KIND(name, way, run, makes) {name, way, run, NULL, NULL, makes}
/* Tests, which no channel of a network is known to come through. */
#define TEST(name, f) {name, WAY_STOP, run_nary, NULL, f, MAKES_TRUTH}

const op_row graph_ops[] = {
    UNARY("Relu", f_relu), UNARY("LeakyRelu", f_leaky), UNARY("Clip", f_clip), UNARY("Sigmoid", f_sigmoid),
    UNARY("Tanh", f_tanh), UNARY("HardSigmoid", f_hard_sigmoid), UNARY("HardSwish", f_hard_swish),
    UNARY("Elu", f_elu), UNARY("Celu", f_celu), UNARY("Selu", f_selu), UNARY("Softplus", f_softplus),
    UNARY("Softsign", f_softsign), UNARY("Exp", f_exp), UNARY("Log", f_log), UNARY("Sqrt", f_sqrt),
    UNARY("Neg", f_neg), UNARY("Abs", f_abs), UNARY("Erf", f_erf), UNARY("Reciprocal", f_inverse),
    UNARY("Floor", f_floor), UNARY("Ceil", f_ceil), UNARY("Sign", f_sign), UNARY("Sin", f_sin), UNARY("Cos", f_cos),
    UNARY("Mish", f_mish), UNARY("Gelu", f_gelu), UNARY("ThresholdedRelu", f_thresholded),
    UNARY("Identity", f_same), UNARY("Dropout", f_same), UNARY("Round", f_round), UNARY("Shrink", f_shrink),
    {"Cast", WAY_UNARY, run_cast, f_same, NULL, MAKES_OWN}, KIND("CastLike", WAY_STOP, run_cast, MAKES_OWN),
    {"Not", WAY_STOP, run_unary, f_not, NULL, MAKES_TRUTH}, {"IsNaN", WAY_STOP, run_unary, f_is_nan, NULL, MAKES_TRUTH},
    TEST("Equal", b_equal), TEST("Greater", b_greater), TEST("GreaterOrEqual", b_greater_or_equal), TEST("Less", b_less),
    TEST("LessOrEqual", b_less_or_equal), TEST("And", b_and), TEST("Or", b_or), TEST("Xor", b_xor),
    OTHER("Mod", WAY_STOP, run_mod), KIND("Where", WAY_STOP, run_where, LIKE_SECOND),
    NARY("Add", b_add), NARY("Sub", b_sub), NARY("Mul", b_mul), NARY("Div", b_div), NARY("Pow", b_pow),
    NARY("Min", b_min), NARY("Max", b_max), NARY("Sum", b_add), OTHER("PRelu", WAY_NARY, run_prelu),
    OTHER("BatchNormalization", WAY_NORM, run_norm), OTHER("Conv", WAY_CONV, run_conv),
    OTHER("ConvTranspose", WAY_CONVT, run_conv_transpose), OTHER("Gemm", WAY_GEMM, run_gemm),
    OTHER("MatMul", WAY_MATMUL, run_matmul), OTHER("MaxPool", WAY_POOL, run_pool),
    OTHER("AveragePool", WAY_POOL, run_pool), OTHER("GlobalAveragePool", WAY_POOL, run_global_pool),
    OTHER("GlobalMaxPool", WAY_POOL, run_global_pool), OTHER("ReduceMean", WAY_POOL, run_reduce),
    OTHER("ReduceMax", WAY_POOL, run_reduce), OTHER("ReduceMin", WAY_POOL, run_reduce),
    OTHER("ReduceSum", WAY_POOL, run_reduce), OTHER("ReduceL1", WAY_POOL, run_reduce),
    OTHER("ReduceL2", WAY_POOL, run_reduce), OTHER("ReduceSumSquare", WAY_POOL, run_reduce),
    OTHER("ReduceProd", WAY_STOP, run_reduce), OTHER("ReduceLogSum", WAY_STOP, run_reduce),
    OTHER("ReduceLogSumExp", WAY_STOP, run_reduce), OTHER("Concat", WAY_CONCAT, run_concat),
    OTHER("Split", WAY_SPLIT, run_split), OTHER("Slice", WAY_SLICE, run_slice), OTHER("Pad", WAY_PAD, run_pad),
    OTHER("Resize", WAY_RESIZE, run_resize), OTHER("Upsample", WAY_RESIZE, run_resize),
    OTHER("Flatten", WAY_RESHAPE, run_flatten), OTHER("Reshape", WAY_RESHAPE, run_reshape),
    OTHER("Squeeze", WAY_RESHAPE, run_squeeze), OTHER("Unsqueeze", WAY_RESHAPE, run_unsqueeze),
    KIND("Constant", WAY_CONSTANT, run_fill, MAKES_OWN), KIND("ConstantOfShape", WAY_STOP, run_fill, MAKES_OWN),
    KIND("Shape", WAY_SHAPE, run_shape, MAKES_WHOLE), OTHER("Transpose", WAY_TRANSPOSE, run_transpose),
    OTHER("DepthToSpace", WAY_BLOCKS, run_depth_to_space), OTHER("SpaceToDepth", WAY_BLOCKS, run_space_to_depth),
    OTHER("Gather", WAY_STOP, run_gather), OTHER("Softmax", WAY_STOP, run_softmax),
    OTHER("Expand", WAY_STOP, run_expand), OTHER("InstanceNormalization", WAY_NORM, run_instance_norm),
    OTHER("LayerNormalization", WAY_STOP, run_layer_norm), OTHER("GroupNormalization", WAY_STOP, run_group_norm),
    OTHER("LRN", WAY_STOP, run_lrn), OTHER("LpNormalization", WAY_STOP, run_lp_norm), OTHER("LogSoftmax", WAY_STOP, run_softmax),
    KIND("ArgMax", WAY_STOP, run_arg, MAKES_WHOLE), KIND("ArgMin", WAY_STOP, run_arg, MAKES_WHOLE),
    OTHER("CumSum", WAY_STOP, run_cumulative), OTHER("TopK", WAY_STOP, run_top), OTHER("Tile", WAY_STOP, run_tile),
    OTHER("Range", WAY_STOP, run_range), KIND("Size", WAY_STOP, run_size, MAKES_WHOLE), OTHER("Trilu", WAY_STOP, run_triangle),
    OTHER("GatherElements", WAY_STOP, run_gather_elements), OTHER("GatherND", WAY_STOP, run_gather_nd),
    OTHER("ScatterND", WAY_STOP, run_scatter_nd), OTHER("Einsum", WAY_STOP, run_einsum), OTHER("LSTM", WAY_STOP, run_recurrent),
    OTHER("GRU", WAY_STOP, run_recurrent), OTHER("GridSample", WAY_STOP, run_grid_sample),
    OTHER("AffineGrid", WAY_STOP, run_affine_grid), KIND("QuantizeLinear", WAY_STOP, run_quantize, MAKES_WHOLE),
    KIND("DequantizeLinear", WAY_STOP, run_dequantize, MAKES_OWN),
};
const size_t graph_op_count = sizeof graph_ops / sizeof *graph_ops;
