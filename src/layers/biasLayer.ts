import * as tf from '@tensorflow/tfjs';
import {FrozenLayer} from './frozenLayer';
import {type WrapperArgs, type WrapperKind, WRAPPER_KIND} from './wrapperLayer';

/**
 * A layer of which the bias trains, or the shift of a normalization, and nothing else: no other gradient is computed. The bias belongs to the
 * adapter; its original value is kept. (Ben Zaken et al., "BitFit", arXiv 2106.10199; PEFT's `bias: "all"`.)
 */
export class BiasLayer extends FrozenLayer {
  static override readonly className: string = 'BiasLayer';
  override readonly [WRAPPER_KIND]: WrapperKind = 'bias';

  constructor(args: WrapperArgs) {
    super(args, 'biases');
  }
}
tf.serialization.registerClass(BiasLayer);
