import * as activations from './activations';
import * as attention from './attention';
import type {Rule} from './activations';
import {conv, convTranspose} from './convolutions';
import * as elementwise from './elementwise';
import * as indices from './indices';
import * as norms from './norms';
import type {OnnxCall} from './onnxCall';
import * as pools from './pools';
import * as products from './products';
import * as quantized from './quantized';
import * as rearranged from './rearranged';
import * as recurrent from './recurrent';
import {add, mul} from './recognized';
import * as reductions from './reductions';
import {resize} from './resize';
import * as shapes from './shapes';

const {binary, variadic} = elementwise;
const {unary} = activations;
const {reduce} = reductions;

/** A node that returns its input at inference, such as Dropout. */
const identity: Rule = call => {
  if (call.proto.outputs.filter(name => name !== '').length > 1) {
    call.refuse('The node gives a mask.');
  }
  call.setOutput(call.key(0), call.perm());
};

/** An output of the file, in the order of the file. */
const output: Rule = async call => call.setOutput(await call.input());

/** Domain → operation → its rule. */
export const OPERATIONS: Readonly<Record<string, Readonly<Record<string, Rule>>>> = {
  'tfjs-lora': {Output: output},
  '': {
    Abs: unary('Abs'),
    Acos: unary('Acos'),
    Acosh: unary('Acosh'),
    Add: add,
    And: binary('LogicalAnd'),
    ArgMax: reductions.arg('ArgMax'),
    ArgMin: reductions.arg('ArgMin'),
    Asin: unary('Asin'),
    Asinh: unary('Asinh'),
    Atan: unary('Atan'),
    Atanh: unary('Atanh'),
    Attention: attention.attention,
    AveragePool: pools.averagePool,
    BatchNormalization: norms.batchNorm,
    Cast: elementwise.castTo,
    Ceil: unary('Ceil'),
    Celu: activations.celu,
    Clip: activations.clip,
    Concat: shapes.concat,
    ConstantOfShape: shapes.constantOfShape,
    Conv: conv,
    ConvInteger: quantized.convInteger,
    ConvTranspose: convTranspose,
    Cos: unary('Cos'),
    Cosh: unary('Cosh'),
    CumSum: reductions.cumSum,
    DepthToSpace: rearranged.depthToSpace,
    DequantizeLinear: quantized.dequantizeLinear,
    Div: elementwise.div,
    Dropout: identity,
    DynamicQuantizeLinear: quantized.dynamicQuantize,
    Einsum: products.einsum,
    Elu: activations.elu,
    Equal: binary('Equal'),
    Erf: unary('Erf'),
    Exp: unary('Exp'),
    Expand: shapes.expand,
    Flatten: shapes.flatten,
    Floor: unary('Floor'),
    GRU: recurrent.gru,
    Gather: indices.gather,
    GatherElements: indices.gatherElements,
    GatherND: indices.gatherND,
    Gelu: activations.gelu,
    Gemm: products.gemm,
    GlobalAveragePool: pools.globalPool('Mean'),
    GlobalMaxPool: pools.globalPool('Max'),
    Greater: binary('Greater'),
    GreaterOrEqual: binary('GreaterEqual'),
    GroupNormalization: norms.groupNorm,
    HardSigmoid: activations.hardSigmoid,
    HardSwish: activations.hardSwish,
    Identity: identity,
    InstanceNormalization: norms.instanceNorm,
    IsInf: elementwise.isInf,
    IsNaN: unary('IsNan'),
    LRN: norms.localResponse,
    LSTM: recurrent.lstm,
    LayerNormalization: norms.layerNorm,
    LeakyRelu: activations.leakyRelu,
    Less: binary('Less'),
    LessOrEqual: binary('LessEqual'),
    Log: unary('Log'),
    LogSoftmax: activations.softmax('LogSoftmax'),
    LpNormalization: reductions.lpNormalization,
    MatMul: products.matMul,
    MatMulInteger: quantized.matMulInteger,
    Max: variadic('Maximum'),
    MaxPool: pools.maxPool,
    Mean: variadic('AddV2', true),
    Min: variadic('Minimum'),
    Mish: activations.mish,
    Mod: elementwise.mod,
    Mul: mul,
    Neg: unary('Neg'),
    NonZero: rearranged.nonZero,
    Not: unary('LogicalNot'),
    OneHot: indices.oneHot,
    Or: binary('LogicalOr'),
    PRelu: elementwise.prelu,
    Pad: shapes.pad,
    Pow: elementwise.pow,
    QLinearConv: quantized.qLinearConv,
    QLinearMatMul: quantized.qLinearMatMul,
    QuantizeLinear: quantized.quantizeLinear,
    RMSNormalization: norms.rmsNorm,
    RNN: recurrent.rnn,
    Range: shapes.rangeRule,
    Reciprocal: unary('Reciprocal'),
    ReduceL1: reduce('Sum', 18, 'Abs'),
    ReduceL2: reduce('Sum', 18, 'Square', 'Sqrt'),
    ReduceLogSum: reduce('Sum', 18, undefined, 'Log'),
    ReduceLogSumExp: reductions.logSumExp,
    ReduceMax: reduce('Max'),
    ReduceMean: reduce('Mean'),
    ReduceMin: reduce('Min'),
    ReduceProd: reduce('Prod'),
    ReduceSum: reduce('Sum', 13),
    ReduceSumSquare: reduce('Sum', 18, 'Square'),
    Relu: unary('Relu'),
    Reshape: shapes.reshapeTo,
    Resize: resize,
    RotaryEmbedding: attention.rotary({cos: 1, sin: 2, positions: 3}),
    Round: unary('Round'),
    ScatterND: indices.scatterND,
    Selu: activations.selu,
    Shape: shapes.shape,
    Sigmoid: unary('Sigmoid'),
    Sign: unary('Sign'),
    SimplifiedLayerNormalization: norms.rmsNorm,
    Sin: unary('Sin'),
    Sinh: unary('Sinh'),
    Size: shapes.sizeRule,
    Slice: shapes.slice,
    Softmax: activations.softmax('Softmax'),
    Softplus: unary('Softplus'),
    Softsign: unary('Softsign'),
    SpaceToDepth: rearranged.spaceToDepth,
    Split: shapes.split,
    Sqrt: unary('Sqrt'),
    Squeeze: shapes.squeeze,
    Sub: binary('Sub'),
    Sum: variadic('AddV2'),
    Swish: activations.swish(1),
    Tan: unary('Tan'),
    Tanh: unary('Tanh'),
    Tile: shapes.tile,
    TopK: reductions.topK,
    Transpose: shapes.transpose,
    Trilu: rearranged.trilu,
    Unsqueeze: shapes.unsqueeze,
    Upsample: resize,
    Where: elementwise.where,
    Xor: elementwise.xor,
  },
  'com.microsoft': {
    Attention: attention.attentionOfInput,
    BiasGelu: activations.biasGelu('gelu'),
    EmbedLayerNormalization: norms.embedNorm,
    FastGelu: activations.biasGelu('gelu_new'),
    Gelu: activations.gelu,
    GroupQueryAttention: attention.groupQueryAttention,
    LayerNormalization: norms.layerNorm,
    DequantizeLinear: quantized.dequantizeLinear,
    MatMulNBits: quantized.matMulNBits,
    MultiHeadAttention: attention.multiHeadAttention,
    QuantizeLinear: quantized.quantizeLinear,
    QuickGelu: activations.swish(1.702),
    RotaryEmbedding: attention.rotary({positions: 1, cos: 2, sin: 3}),
    SimplifiedLayerNormalization: norms.rmsNorm,
    SkipLayerNormalization: norms.skipNorm(false),
    SkipSimplifiedLayerNormalization: norms.skipNorm(true),
  },
};

/** The rule that plans an operation; `undefined` if there is none. */
export function ruleFor({domain, op}: Pick<OnnxCall['proto'], 'domain' | 'op'>): Rule | undefined {
  const rules = Object.hasOwn(OPERATIONS, domain) ? OPERATIONS[domain] : undefined;
  return rules !== undefined && Object.hasOwn(rules, op) ? rules[op] : undefined;
}
