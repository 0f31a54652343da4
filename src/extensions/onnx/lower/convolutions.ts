import {sizeOf} from '../../../platform/formats/layout';
import {type ConvSettings, type Margin, samePads} from '../../../backends/shared/geometry';
import {FusedConv2D, FusedDepthwiseConv2D} from '../../graph/layers/fusedConvolution';
import {activationAfter} from './activations';
import {channelsLast, range} from './lowering';
import {attribute, type OnnxCall} from './onnxCall';

/** The window of a convolution or a pool, over the axes after the channels. */
export interface Window extends ConvSettings<number[], Margin[] | 'same'> {
  readonly kernel: number[];
}

/** @param keepsPads whether pads stay explicit where they equal the padding `same`. */
export function windowOf(call: OnnxCall, kernel: number[], keepsPads = false): Window {
  const axes = kernel.length;
  const ones = new Array<number>(axes).fill(1);
  const strides = call.ints('strides') ?? ones;
  const dilations = call.ints('dilations') ?? ones;
  const explicitPads = call.ints('pads') ?? [];
  const auto = call.text('auto_pad', 'NOTSET');
  const isStrided = strides.some(stride => stride > 1);
  // tfjs refuses strides with dilations, even on different axes.
  if (isStrided && dilations.some(dilation => dilation > 1)) {
    call.refuse('The node has both strides and dilations.');
  }
  // In 3-D, tfjs computes negative pads for a kernel smaller than its stride.
  const isUnclamped = axes === 3 && kernel.some((size, i) => size < (strides[i] ?? 1));
  if (auto === 'SAME_UPPER' && !isUnclamped) {
    return {kernel, strides, dilations, padding: 'same'};
  }
  const sizes = range(axes).map(i => call.size(0, 2 + i));
  const same = samePads(sizes, kernel, {strides, dilations});
  const padding = same.map((margin, i): Margin => {
    if (auto.startsWith('SAME')) {
      const [less, more] =
        margin ?? call.refuse(`The node pads by ${auto} with a dynamic size: fix it by inputShapes.`);
      return auto === 'SAME_UPPER' ? [less, more] : [more, less];
    }
    return auto === 'VALID' ? [0, 0] : [explicitPads[i] ?? 0, explicitPads[axes + i] ?? 0];
  });
  const isSame = !isUnclamped && padding.every((margin, i) => margin.join() === same[i]?.join());
  if (padding.flat().some(size => size < 0)) {
    call.refuse('The node has negative pads.');
  }
  // With strides and no pads, `valid` is the simpler layer.
  const staysExplicit = keepsPads || (isStrided && padding.flat().every(size => size === 0));
  return {kernel, strides, dilations, padding: isSame && !staysExplicit ? 'same' : padding};
}

/** Pads a channels-last tensor with `value`. */
export async function withPadding(call: OnnxCall, x: string, pads: Window['padding'], value = 0): Promise<string> {
  if (pads === 'same' || pads.flat().every(size => size === 0)) {
    return x;
  }
  if (pads.length === 2 && value === 0 && call.typeOf(x) === 'float32') {
    return call.layer('ZeroPadding2D', {padding: pads}, [x], {}, 'pad');
  }
  const [planes, rows, columns] = pads.map((_, i) => call.sizeOf(x, i + 1));
  const channels = call.sizeOf(x, pads.length + 1);
  if (pads.length === 3 && planes && rows && columns && channels) {
    // webgl and webgpu pad at most four axes, so columns and channels are joined.
    const batch = await call.sizeEntryOf(x, 0);
    const flat = await call.reshaped(x, [batch, planes, rows, columns * channels]);
    const ends = [0, 0, ...pads.flat().map((size, i) => (i < 4 ? size : size * channels))];
    const wide = await call.emit('PadV2', [flat, call.constant(ends, [4, 2]), call.scalar(value)]);
    const sizes = [planes, rows, columns].map((size, i) => size + (pads[i]?.[0] ?? 0) + (pads[i]?.[1] ?? 0));
    return call.reshaped(wide, [batch, ...sizes, channels]);
  }
  const all = [0, 0, ...pads.flat(), 0, 0];
  return call.emit('PadV2', [x, call.constant(all, [all.length / 2, 2]), call.scalar(value)]);
}

/** The padding of a layer whose input has been padded explicitly unless it is `same`. */
export function paddingOf(pads: Window['padding']): string {
  return pads === 'same' ? 'same' : 'valid';
}

function kernelOf(call: OnnxCall): readonly number[] {
  const rank = call.rank(1);
  const shape = range(rank).map(axis => call.size(1, axis));
  if (call.value(1).kind !== 'constant' || rank < 3 || rank > 5) {
    call.refuse(`The node has a kernel that is ${rank < 3 || rank > 5 ? `of ${rank} axes` : 'computed'}.`);
  }
  return shape as number[];
}

/** A convolution of one to three axes, plain, grouped or depthwise. The activation after it is fused. */
export async function conv(call: OnnxCall): Promise<void> {
  const [out = 1, inner = 1, ...kernel] = kernelOf(call);
  const perm = channelsLast(kernel.length + 2);
  const group = call.int('group', 1);
  call.floats();
  if (call.size(0, 1) !== inner * group || out % group !== 0) {
    call.refuse(`The node takes ${inner * group} channels, but gets ${call.size(0, 1) ?? 'any number'}.`);
  }
  const window = windowOf(call, kernel);
  const isDepthwise = group > 1 && inner === 1 && kernel.length < 3;
  const {activation, absorbed} = activationAfter(call, call.node);
  const x = await withPadding(call, await call.inputIn(0, perm), window.padding);
  const bias = call.bias(2);
  const config = {
    strides: window.strides,
    dilationRate: window.dilations,
    padding: paddingOf(window.padding),
    useBias: bias !== undefined,
    activation,
  };
  if (isDepthwise) {
    call.setOutput(await planDepthwise(call, x, {out, group, window, config, bias}), perm, absorbed);
    return;
  }
  const kind = {className: `Conv${kernel.length}D`, config: {...config, kernelSize: kernel}};
  if (kind.className === 'Conv2D' && activation === 'relu6') {
    kind.className = FusedConv2D.className;
  }
  const last = [...range(kernel.length).map(i => i + 2), 1, 0];
  if (group === 1) {
    const weights = {kernel: call.lowering.weight(call.node.name, 1, {perm: last}), bias};
    call.setOutput(call.layer(kind.className, {...kind.config, filters: out}, [x], weights), perm, absorbed);
    return;
  }
  const filters = out / group;
  const axis = kernel.length + 1;
  const sizes = call.indicesBelow(group).map(() => inner);
  const split = await call.emit('SplitV', [x, call.constant(sizes), call.scalar(axis, 'int32')], {}, group);
  const parts = range(group).map(i => {
    const rows = [i * filters, filters] as const;
    const weights = {
      kernel: call.lowering.weight(call.node.name, 1, {rows, perm: last}),
      bias: bias && call.lowering.weight(call.node.name, 2, {rows}),
    };
    return call.layer(kind.className, {...kind.config, filters}, [`${split}:${i}`], weights, `group${i}`);
  });
  call.setOutput(await call.emit('ConcatV2', [...parts, call.scalar(axis, 'int32')]), perm, absorbed);
}

/** A depthwise convolution. In 1-D, it is computed as a 2-D one of height 1. */
async function planDepthwise(
  call: OnnxCall,
  x: string,
  {
    out,
    group,
    window,
    config,
    bias,
  }: {out: number; group: number; window: Window; config: Record<string, unknown>; bias: string | undefined},
): Promise<string> {
  const isFlat = window.kernel.length === 1;
  const two = (list: readonly number[]) => (isFlat ? [1, ...list] : [...list]);
  const kernelSize = two(window.kernel);
  const multiplier = out / group;
  const perm = [2, 3, 0, 1];
  const kernel = call.lowering.weight(call.node.name, 1, {shape: [group, multiplier, ...kernelSize], perm});
  const fuses =
    config.activation === 'relu' || config.activation === 'relu6' || window.dilations.some(rate => rate > 1);
  const image = isFlat ? await call.emit('ExpandDims', [x, call.scalar(1, 'int32')]) : x;
  const strides = isFlat ? [window.strides[0] ?? 1, window.strides[0] ?? 1] : window.strides;
  const result = call.layer(
    fuses ? FusedDepthwiseConv2D.className : 'DepthwiseConv2D',
    {...config, strides, dilationRate: two(window.dilations), kernelSize, depthMultiplier: multiplier},
    [image],
    {depthwise_kernel: kernel, bias},
  );
  return isFlat ? call.emit('Squeeze', [result], {squeeze_dims: {list: {i: ['1']}}}) : result;
}

/** Crops a volume `[batch, planes, rows, columns, channels]`. */
function cropVolume(call: OnnxCall, x: string, cut: readonly [begin: number, end: number][]): Promise<string> {
  const list = (of: (margins: readonly [number, number]) => number) => call.constant([0, ...cut.map(of), 0]);
  const toEnd = cut.reduce((mask, [, end], i) => mask + (end === 0 ? 2 ** (i + 1) : 0), 0b10001);
  const inputs = [x, list(([begin]) => begin), list(([, end]) => -end), call.constant([1, 1, 1, 1, 1])];
  return call.emit('StridedSlice', inputs, {
    begin_mask: attribute.int(0b10001),
    end_mask: attribute.int(toEnd),
  });
}

/** A transposed convolution: a layer with padding `valid`, whose result is cropped. */
export async function convTranspose(call: OnnxCall): Promise<void> {
  const [, out = 1, ...kernel] = kernelOf(call);
  const isFlat = kernel.length === 1;
  call.floats();
  if (call.int('group', 1) !== 1) {
    call.refuse('The node has groups.');
  }
  if (call.ints('output_shape') !== undefined || !['NOTSET', 'VALID'].includes(call.text('auto_pad', 'NOTSET'))) {
    call.refuse('The node has output_shape or auto_pad.');
  }
  const {strides, dilations} = windowOf(call, kernel);
  if (dilations.some(rate => rate > 1)) {
    call.refuse('The node has dilations.');
  }
  const pads = call.ints('pads') ?? [];
  const extra = call.ints('output_padding') ?? [];
  // The output size of the layer is `stride · size + max(kernel - stride, 0)`.
  const cut = kernel.map((size, i): [number, number] => {
    const spare = Math.max((strides[i] ?? 1) - size, 0);
    const end = (pads[kernel.length + i] ?? 0) - (extra[i] ?? 0) + spare;
    return [pads[i] ?? 0, end >= 0 ? end : call.refuse('The node adds more at the end than its pads cut off.')];
  });
  const perm = channelsLast(kernel.length + 2);
  const channelsLastInput = await call.inputIn(0, perm);
  const two = <T>(list: readonly T[], one: T) => (isFlat ? [one, ...list] : [...list]);
  const x = isFlat ? await call.emit('ExpandDims', [channelsLastInput, call.scalar(1, 'int32')]) : channelsLastInput;
  const {activation, absorbed} = activationAfter(call, call.node);
  const bias = call.bias(2);
  const inner = call.size(1, 0) ?? 1;
  const size = two(kernel, 1);
  let result = call.layer(
    size.length === 3 ? 'Conv3DTranspose' : 'Conv2DTranspose',
    {
      filters: out,
      kernelSize: size,
      strides: two(strides, 1),
      padding: 'valid',
      useBias: bias !== undefined,
      activation,
    },
    [x],
    {
      kernel: call.lowering.weight(call.node.name, 1, {
        shape: [inner, out, ...size],
        perm: [...range(size.length).map(i => i + 2), 1, 0],
      }),
      bias,
    },
  );
  if (sizeOf(cut.flat().map(margin => margin + 1)) > 1) {
    result =
      size.length === 3
        ? await cropVolume(call, result, cut)
        : call.layer('Cropping2D', {cropping: two(cut, [0, 0] as [number, number])}, [result], {}, 'crop');
  }
  call.setOutput(
    isFlat ? await call.emit('Squeeze', [result], {squeeze_dims: {list: {i: ['1']}}}) : result,
    perm,
    absorbed,
  );
}
