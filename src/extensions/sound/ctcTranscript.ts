import * as tf from '@tensorflow/tfjs';
import {baseOf} from '../../core/layers/layerMarks';
import {sitesOf} from '../../core/rewire/walk';
import {LoRAError} from '../../platform/errors';
import {hubRecordOf} from '../transformers/net/hubRecord';
import {ctcSettings} from '../transformers/ops/ctc';

/** The layer that knows the strides of the frames: its class, which need not be loaded here. */
const FRAME_MASK = 'tfjs-lora/transformers>FrameMask';

export interface FramedWord {
  text: string;
  from: number;
  to: number;
}

/** The likeliest class of each frame of a clip, `[1, samples]`. */
export async function likeliestClasses(model: tf.LayersModel, clip: tf.Tensor): Promise<number[]> {
  const logits = tf.tidy(() => model.predict([clip, tf.onesLike(tf.cast(clip, 'int32'))]) as tf.Tensor3D);
  const [, frames, classes] = logits.shape;
  try {
    const values = await logits.data<'float32'>();
    return Array.from({length: frames}, (_, frame) => {
      const frameLogits = values.subarray(frame * classes, (frame + 1) * classes);
      const best = frameLogits.reduce(
        (bestClass, logit, i) => (logit > (frameLogits[bestClass] as number) ? i : bestClass),
        0,
      );
      if (!frameLogits.every(Number.isFinite)) {
        throw new LoRAError('A logit of the model is not finite.', {code: 'ERR_NUMERIC'});
      }
      return best;
    });
  } finally {
    logits.dispose();
  }
}

export function wordsIn(
  classes: readonly number[],
  model: tf.LayersModel,
  {decode, space}: {decode: (ids: number[]) => string; space: number | undefined},
): FramedWord[] {
  const blank = ctcSettings((hubRecordOf(model)?.config ?? {}) as Record<string, unknown>)?.blank;
  const words: FramedWord[] = [];
  let from: number | undefined;
  let to = 0;
  for (let i = 0; i <= classes.length; i++) {
    if (i < classes.length && classes[i] !== space) {
      if (classes[i] !== blank) {
        from ??= i;
        to = i + 1;
      }
    } else if (from !== undefined) {
      words.push({text: decode(classes.slice(from, to)), from, to});
      from = undefined;
    }
  }
  return words;
}

export function samplesPerFrame(model: tf.LayersModel): number {
  const mask = sitesOf(model).find(({layer}) => baseOf(layer).getClassName() === FRAME_MASK)?.layer;
  const {strides = []} = (mask?.getConfig() ?? {}) as {strides?: number[]};
  return strides.reduce((product, stride) => product * stride, 1);
}
