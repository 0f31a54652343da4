/** The scale on which mel filters are evenly spaced: of Slaney's toolbox and librosa, of HTK, or of Kaldi. */
export type MelScale = 'slaney' | 'htk' | 'kaldi';

/** The weights of consecutive frequencies of a spectrum in a filter. */
export interface MelFilter {
  first: number;
  weights: Float64Array;
}

/** The settings of a filter bank. */
export interface MelBank {
  sampleRate: number;
  fftSize: number;
  mels: number;
  minFrequency: number;
  maxFrequency: number;
  scale: MelScale;
  /** Divides each filter by its width in Hz, so that all have the same area. */
  normalized: boolean;
}

const SLANEY_STEP = Math.log(6.4) / 27;

const TO_MEL: Readonly<Record<MelScale, (hertz: number) => number>> = {
  slaney: hertz => (hertz < 1000 ? (3 * hertz) / 200 : 15 + Math.log(hertz / 1000) / SLANEY_STEP),
  htk: hertz => 2595 * Math.log10(1 + hertz / 700),
  kaldi: hertz => 1127 * Math.log(1 + hertz / 700),
};

const TO_HERTZ: Readonly<Record<MelScale, (mel: number) => number>> = {
  slaney: mel => (mel < 15 ? (200 * mel) / 3 : 1000 * Math.exp((mel - 15) * SLANEY_STEP)),
  htk: mel => 700 * (10 ** (mel / 2595) - 1),
  kaldi: mel => 700 * (Math.exp(mel / 1127) - 1),
};

/** Triangular filters, evenly spaced on a mel scale. Those of Kaldi are triangles on that scale, the others in Hz. */
export function melFilters(bank: MelBank): MelFilter[] {
  const {sampleRate, fftSize, mels, minFrequency, maxFrequency, scale, normalized} = bank;
  const [least, most] = [TO_MEL[scale](minFrequency), TO_MEL[scale](maxFrequency)];
  const isOnScale = scale === 'kaldi';
  const edges = Array.from({length: mels + 2}, (_, i) => {
    const mel = least + ((most - least) * i) / (mels + 1);
    return isOnScale ? mel : TO_HERTZ[scale](mel);
  });
  const bins = Math.floor(fftSize / 2) + 1;
  const frequencies = Array.from({length: bins}, (_, i) => {
    // As in transformers, which spreads the frequencies of other filters over half of the rate, also for odd sizes.
    const hertz = isOnScale ? (sampleRate / (2 * (bins - 1))) * i : (Math.floor(sampleRate / 2) * i) / (bins - 1);
    return isOnScale ? TO_MEL[scale](hertz) : hertz;
  });
  return Array.from({length: mels}, (_, i) => {
    const [left, middle, right] = edges.slice(i, i + 3) as [number, number, number];
    const factor = normalized ? 2 / (right - left) : 1;
    const all = frequencies.map(at =>
      Math.max(0, factor * Math.min((at - left) / (middle - left), (right - at) / (right - middle))),
    );
    const first = Math.max(
      0,
      all.findIndex(weight => weight > 0),
    );
    const count = all.filter(weight => weight > 0).length;
    return {first, weights: Float64Array.from(all.slice(first, first + count))};
  });
}
