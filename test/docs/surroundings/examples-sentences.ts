import {files as filesOfPage, url} from './transformers';

export const folder = url;
export const sentences = ['the cat sat', 'a dog slept'];
export const groups = [0, 1];
export const files = () => filesOfPage();
