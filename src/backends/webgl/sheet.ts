import * as tf from '@tensorflow/tfjs';
import {defer, type Deferred, deferredOf} from '../shared/deferred';
import type {Joining} from '../shared/joinedSteps';
import {currentWebgl, runPointwiseProgram, type WebglBackend} from './program';
import {pixelsOf, runInSheet, runStackProgram, type Source, type Stack, type StackCall, stackOf} from './stackProgram';

// A webgl program has one result, so it can update several variables only if they are one texture. A sheet is such a
// texture: the pixels of several tensors, one tensor after the other. After a step the variables are parts of a sheet,
// which our programs read there; any other kernel has a part copied into a texture of its own.

/** A texture that several tensors share, as a stack `[1, 2, 2·n]` with their `n` pixels. */
export class Sheet {
  private users = 1;

  constructor(
    readonly backend: WebglBackend,
    readonly info: tf.TensorInfo,
    readonly pixels: number,
  ) {}

  get stack(): Stack {
    return [1, 2, 2 * this.pixels];
  }

  use(): this {
    this.users++;
    return this;
  }

  /** Gives up one use. The last one frees the texture. */
  free(): void {
    this.users--;
    if (this.users === 0) {
      this.backend.disposeData(this.info.dataId);
    }
  }
}

/** A tensor that is a part of a sheet. */
interface SheetPart extends Deferred {
  readonly sheet: Sheet;
  readonly start: number;
  readonly stack: Stack;
}

/** The position of a tensor in a sheet of the current backend, if it has one. */
function sheetPartOf(tensor: tf.Tensor): SheetPart | undefined {
  const deferred = deferredOf(tensor);
  return deferred !== undefined && 'sheet' in deferred && (deferred as SheetPart).sheet.backend === currentWebgl()
    ? (deferred as SheetPart)
    : undefined;
}

/** A tensor as a program reads it: in its sheet, if it is a part of one. */
export function sourceOf(tensor: tf.Tensor): Source {
  const sheetPart = sheetPartOf(tensor);
  return sheetPart === undefined
    ? {info: tensor, stack: stackOf(tensor.shape)}
    : {info: sheetPart.sheet.info, stack: sheetPart.stack, start: sheetPart.start};
}

function copyOf(source: Source, x: string): StackCall {
  return {program: {reads: [x], code: `result = ${x}(b, row, col);`}, sources: [source], stack: source.stack};
}

/** The results of several programs in a sheet. */
export function sheetOf(calls: readonly StackCall[]): Sheet {
  const backend = currentWebgl() as WebglBackend;
  const pixels = calls.reduce((sum, {stack}) => sum + pixelsOf(stack), 0);
  return new Sheet(backend, runInSheet(backend, calls), pixels);
}

/** Joins variables for a step in sheets. */
export const sheets: Joining<Sheet> = {
  join: tensors => {
    const parts = tensors.map(sheetPartOf);
    const sheet = parts[0]?.sheet;
    let pixels = 0;
    const inOrder = parts.every(sheetPart => {
      const follows = sheetPart?.sheet === sheet && sheetPart?.start === pixels;
      pixels += sheetPart === undefined ? 0 : pixelsOf(sheetPart.stack);
      return follows;
    });
    return sheet !== undefined && inOrder && pixels === sheet.pixels ? sheet.use() : packSheet(tensors.map(sourceOf));
  },
  run: (code, joined, settings) => {
    const [{backend, pixels}] = joined as readonly [Sheet];
    const infos = joined.map(({info}) => info);
    return runPointwiseProgram(backend, code, infos, settings).map(info => new Sheet(backend, info, pixels));
  },
  split: (sheet, shapes) => {
    let next = 0;
    return shapes.map(shape => {
      const stack = stackOf(shape);
      const start = next;
      next += pixelsOf(stack);
      const sheetPart: SheetPart = {
        ...{sheet: sheet.use(), start, stack, held: []},
        compute: () => {
          const info = runStackProgram(sheet.backend, copyOf({info: sheet.info, stack, start}, 'x'));
          const backend = sheet.backend as unknown as tf.KernelBackend;
          return tf.engine().makeTensorFromTensorInfo({...info, shape: [...shape]}, backend);
        },
        onEnd: () => {
          sheet.free();
        },
      };
      return defer([...shape], sheetPart);
    });
  },
  free: sheet => {
    sheet.free();
  },
};

/** Copies the pixels of stacks into a sheet: a launch for as many as a program reads, and one more for several. */
function packSheet(sources: readonly Source[]): Sheet {
  const most = tf.env().getNumber('WEBGL_MAX_TEXTURES_IN_SHADER');
  if (sources.length <= most) {
    return sheetOf(sources.map((source, i) => copyOf(source, `x${i}`)));
  }
  const sheets: Sheet[] = [];
  for (let from = 0; from < sources.length; from += most) {
    sheets.push(packSheet(sources.slice(from, from + most)));
  }
  const sheetOfSheets = packSheet(sheets.map(({info, stack}) => ({info, stack})));
  sheets.forEach(sheet => {
    sheet.free();
  });
  return sheetOfSheets;
}
