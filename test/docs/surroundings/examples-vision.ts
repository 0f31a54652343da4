import {fixture} from '../../extensions/transformers/fixtures';

export const folder = 'https://example.com/dinov2';
export const images = Array.from({length: 4}, (_, i) => ({
  data: new Uint8Array(24 * 24 * 3).fill(60 * i),
  width: 24,
  height: 24,
}));
export const labels = [0, 1, 0, 1];
/** It has two blocks. */
export const lastBlocks = [/layer\/1\/.*(_proj|fc\d)$/];

/** A tiny model in place of the real one. */
export function files() {
  const {config, weights} = fixture('dinov2');
  const size = {height: 24, width: 24};
  const preprocessor = {image_processor_type: 'BitImageProcessor', size, do_center_crop: false};
  return Promise.resolve({
    [`${folder}/config.json`]: config,
    [`${folder}/model.safetensors`]: weights,
    [`${folder}/preprocessor_config.json`]: JSON.stringify(preprocessor),
  });
}
