import {type Json, kerasEntry, type KerasEntry, nameOf, someInside} from './json';

/** Whether a layer of a config masks positions for the layers after it. */
export function hidesPlaces(value: Json): boolean {
  return value.mask_zero === true || value.class_name === 'Masking';
}

/** Layers that use a mask. */
const RECURRENT = ['Bidirectional', 'ConvLSTM2D', 'GRU', 'LSTM', 'RNN', 'SimpleRNN'];

/** Layers that pass on no mask in Keras. */
const WITHOUT =
  /Conv|Crop|Padding|Pooling|UpSampling|Resizing|^Random|^(?:Dot|EinsumDense|Flatten|Permute|RepeatVector|Reshape|RMSNormalization)$/;
/** Layers that pass on no mask in Keras 2. */
const WITHOUT_IN_KERAS_2 = /^(?:Identity|Normalization|Rescaling)$/;
/** Layers that combine several masks differently in tfjs. */
const MERGING = /^(?:Add|Average|Maximum|Minimum|Multiply|Subtract)$/;

/** Whether a layer uses the mask of its first input. */
export function heedsMask({className}: KerasEntry): boolean {
  return RECURRENT.includes(className) || className === 'GlobalAveragePooling1D';
}

/** Whether a layer passes the mask of its first input on. */
export function givesMaskOn({className, config}: KerasEntry, isKeras3: boolean): boolean {
  return RECURRENT.includes(className)
    ? (kerasEntry(config.layer)?.config ?? config).return_sequences === true
    : !WITHOUT.test(className) && (isKeras3 || !WITHOUT_IN_KERAS_2.test(className)) && !isMerging(className);
}

/** Whether a layer combines the masks of its inputs. */
export function isMerging(className: string): boolean {
  return MERGING.test(className);
}

/**
 * Layers that use a mask and get another one in tfjs than in Keras, by name: tfjs passes on the last mask that it met,
 * even to layers that have none in Keras.
 *
 * @param inputsOf the layers that a layer is called with, by name.
 */
export function otherwiseMasked(
  layers: readonly KerasEntry[],
  inputsOf: (name: string) => readonly string[],
  isKeras3: boolean,
): Set<string> {
  const masked = new Set<string>();
  const isReached = (name: string) => inputsOf(name).some(input => masked.has(input));
  for (let before = -1; before < masked.size;) {
    before = masked.size;
    for (const entry of layers) {
      const name = nameOf(entry);
      const isSource = entry.className === 'Masking' || someInside(entry.config, hidesPlaces);
      if (isSource || (givesMaskOn(entry, isKeras3) && isReached(name))) {
        masked.add(name);
      }
    }
  }
  const unreached = layers.filter(entry => heedsMask(entry) && !isReached(nameOf(entry)));
  return new Set(masked.size === 0 ? [] : unreached.map(nameOf));
}
