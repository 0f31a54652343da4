import * as tf from '@tensorflow/tfjs';
import {isRecording} from '../../platform/tfjs/engine';
import {learns, runLazyOp} from '../../platform/tfjs/lazyOp';
import type {AdaptedProduct, ProductPrograms} from './launches';

/** A product with a low-rank update in a training step, by the few launches that a graphics card has for it. */
export function productBy(programs: ProductPrograms): AdaptedProduct {
  return {
    ...programs,
    recorded: (x, {kernel, factors, bias, gain, dropped, defer}, {activation: {apply, gradient, cap}, composed}) => {
      if (!factors || !isRecording() || gain || dropped || learns(kernel)) {
        return undefined;
      }
      const {a, b, scaling} = factors;
      const width = lastAxis(x);
      if (kernel.size !== width * lastAxis(b) || !programs.takes(x.size / width, factors)) {
        return undefined;
      }
      const epilogue = {cap, ...(bias && {t: bias})};
      return runLazyOp({
        inputs: {x, kernel, a, b, ...(bias && {bias})},
        save: {x: true, kernel: true, a: true, b: true, y: gradient !== null},
        forward: () => {
          const deferred = defer?.(x, kernel, bias, factors);
          if (deferred !== undefined) {
            return deferred;
          }
          const y = programs.forward(x, {kernel, a, b, scaling}, epilogue);
          return cap === undefined ? apply(y) : y;
        },
        gradient: (dy, saved): Record<string, () => tf.Tensor> => {
          const before = (d: tf.Tensor) => (gradient === null ? d : gradient(d, saved.y));
          const dBias = (dz: tf.Tensor) => () => tf.sum(tf.reshape(dz, [-1, lastAxis(dz)]), 0);
          if (isRecording()) {
            const dz = before(dy);
            return {...composed(dz, saved), bias: dBias(dz)};
          }
          const outer = cap === undefined ? (defer?.epilogueGradient(dy) ?? {dy: before(dy)}) : {dy, y: saved.y, cap};
          const {dz, ofFactors, ofInput} = programs.backward(saved.x, outer, {...saved, scaling});
          const [da, db] = ofFactors(); // what is made for one gradient does not last until another is asked for
          return {x: ofInput, a: () => da, b: () => db, bias: dBias(dz)};
        },
      });
    },
  };
}

function lastAxis({shape}: tf.Tensor): number {
  return shape[shape.length - 1] ?? 1;
}
