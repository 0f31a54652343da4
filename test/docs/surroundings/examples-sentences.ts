import {files as filesOfPage, url} from './transformers';

export const folder = url;
export const texts = [
  {text: 'the cat sat', label: 0},
  {text: 'a dog slept', label: 1},
];
export const files = () => filesOfPage();
