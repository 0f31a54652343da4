import {centerSound, type Sound} from 'tfjs-lora/sound';

const sound = (samples: number[]): Sound => ({samples: Float32Array.from(samples), sampleRate: 1000});

/** Two loud samples at a place of a quiet second. */
function clicksAt(place: number): Sound {
  return sound(Array.from({length: 1000}, (_, i) => (i === place || i === place + 1 ? 1 : 0)));
}

test('half of the energy of a clip is before its middle', () => {
  for (const place of [0, 300, 499, 998]) {
    const {samples, sampleRate} = centerSound(clicksAt(place), 0.5);
    expect([samples.length, sampleRate]).toEqual([500, 1000]);
    expect([...samples.keys()].filter(i => samples[i] !== 0)).toEqual([249, 250]);
  }
});

test('a sound that is too short is padded with silence', () => {
  expect([...centerSound(sound([0.5, -0.5]), 0.006).samples]).toEqual([0, 0, 0.5, -0.5, 0, 0]);
  expect(centerSound(clicksAt(0)).samples).toHaveLength(1000);
  expect([...centerSound(sound([]), 0.002).samples]).toEqual([0, 0]);
});

test('what is no sound and no length is refused', () => {
  expect(() => centerSound(null as unknown as Sound)).toThrow('the sound must be {samples, sampleRate}');
  for (const seconds of [0, -1, NaN, Infinity]) {
    expect(() => centerSound(clicksAt(0), seconds)).toThrow(`seconds must be a length above 0, got ${seconds}.`);
  }
});
