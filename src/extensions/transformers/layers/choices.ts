import * as tf from '@tensorflow/tfjs';
import {misfitError, showShape} from '../../../platform/errors';
import {onlyShape, onlyTensor} from '../../../core/layers/forward';
import {shapesOf} from '../../../platform/tfjs/inputs';
import {registerOwn} from '../../../platform/tfjs/configs';
import {PlainLayer} from './plainLayer';

/**
 * Flattens the choices of all examples, `[batch, choices, positions]` → `[batch·choices, positions]`, so that the
 * following layers compute each choice separately. {@link ChoiceScores} is the inverse.
 *
 * @experimental
 */
export class ChoiceRows extends PlainLayer {
  static readonly className = 'tfjs-lora/transformers>ChoiceRows';

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape {
    return [null, onlyShape(inputShape).at(-1) ?? null];
  }

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    const x = onlyTensor(inputs);
    if (x.rank !== 3) {
      throw misfitError(`"${this.name}" takes [batch, choices, positions], got ${showShape(x.shape)}.`);
    }
    return tf.reshape(x, [-1, x.shape[2] as number]);
  }
}
registerOwn(ChoiceRows);

/**
 * Groups the logits of choices by example: `[batch·choices, 1]` and the tokens, `[batch, choices, positions]` →
 * `[batch, choices]`. (See {@link ChoiceRows}.)
 *
 * @experimental
 */
export class ChoiceScores extends PlainLayer {
  static readonly className = 'tfjs-lora/transformers>ChoiceScores';

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape {
    const [, tokens = []] = shapesOf(inputShape);
    return tokens.slice(0, 2);
  }

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    const [scores, tokens] = inputs as [tf.Tensor, tf.Tensor];
    return tf.reshape(scores, tokens.shape.slice(0, 2));
  }
}
registerOwn(ChoiceScores);
