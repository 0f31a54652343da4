import type * as tf from '@tensorflow/tfjs';
import {baseOf} from '../../core/layers/layerMarks';
import {sitesOf} from '../../core/rewire/walk';
import {misfitError, showShape} from '../../platform/errors';
import {hubClassOf} from '../transformers/net/hubRecord';
import {positionLimitOf} from '../transformers/net/positionLimit';

/**
 * How a model of the hub makes transcripts: with a decoder, as Whisper does, or with a character for each frame.
 *
 * @throws LoRAError if it makes none.
 */
export function kindOfSpeech(model: tf.LayersModel, caller: string): 'whisper' | 'ctc' {
  const [sound, ids] = model.inputs;
  const isOutput = model.outputs.length === 1 && model.outputs[0]?.shape.length === 3;
  if (isOutput && sound?.shape.length === 2 && hubClassOf(model).endsWith('ForCTC')) {
    return 'ctc';
  }
  if (!isOutput || sound?.shape.length !== 3 || ids?.shape.length !== 2) {
    throw misfitError(
      `${caller} takes a Whisper of loadTransformer with its decoder, WhisperForConditionalGeneration, or a model ` +
        `for CTC, Wav2Vec2ForCTC or HubertForCTC. This model takes ` +
        `${model.inputs.map(({shape}) => showShape(shape)).join(', ')}.`,
    );
  }
  return 'whisper';
}

/** The positions of the encoder, of two frames each, or the most tokens of the decoder. */
export function positionsOf(model: tf.LayersModel, side: 'encoder' | 'decoder'): number {
  const layers = sitesOf(model).map(({layer}) => baseOf(layer));
  const limits = layers.filter(({name}) => name.includes(`${side}/`)).map(positionLimitOf);
  return limits.find(limit => limit !== undefined) ?? Infinity;
}
