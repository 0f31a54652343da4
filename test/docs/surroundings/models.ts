import {fixture} from '../../extensions/transformers/fixtures';

export const folder = 'https://example.com/vit';

export function files() {
  const {config, weights} = fixture('vit');
  return Promise.resolve({[`${folder}/config.json`]: config, [`${folder}/model.safetensors`]: weights});
}
