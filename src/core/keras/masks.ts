import {type Json, kerasEntry, type KerasEntry, nameOf, someInside} from './json';

/** Whether a layer of a config masks positions for the layers after it. */
export function hidesPlaces(value: Json): boolean {
  return value.mask_zero === true || value.class_name === 'Masking';
}

/** Layers that use a mask in tfjs. */
const RECURRENT = ['Bidirectional', 'ConvLSTM2D', 'GRU', 'LSTM', 'RNN', 'SimpleRNN'];

/** Layers that pass on no mask in Keras. */
const WITHOUT =
  /Conv|Crop|Padding|Pooling|UpSampling|Resizing|^(?:Dot|Flatten|Normalization|Permute|RepeatVector|Rescaling|Reshape)$/;
/** Layers that combine several masks differently in tfjs. */
const MERGING = /^(?:Add|Average|Maximum|Minimum|Multiply|Subtract)$/;

/**
 * Recurrent layers that get another mask in tfjs than in Keras: tfjs passes on the last mask that it met, even to
 * layers that have none in Keras.
 *
 * @param inputsOf the layers that a layer is called with, by name.
 */
export function otherwiseMasked(
  layers: readonly KerasEntry[],
  inputsOf: (name: string) => readonly string[],
): KerasEntry[] {
  const masked = new Set<string>();
  const isReached = (name: string) => inputsOf(name).some(input => masked.has(input));
  for (let before = -1; before < masked.size;) {
    before = masked.size;
    for (const {className, config, ...entry} of layers) {
      const name = nameOf({className, config, ...entry});
      const isSource = className === 'Masking' || someInside(config, hidesPlaces);
      const givesOn = RECURRENT.includes(className)
        ? (kerasEntry(config.layer)?.config ?? config).return_sequences === true
        : ![WITHOUT, MERGING].some(classes => classes.test(className));
      if (isSource || (givesOn && isReached(name))) {
        masked.add(name);
      }
    }
  }
  return masked.size === 0
    ? []
    : layers.filter(entry => RECURRENT.includes(entry.className) && !isReached(nameOf(entry)));
}
