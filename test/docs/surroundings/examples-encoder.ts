import {files as filesOfPage, url} from './transformers';

export const folder = url;
export const subjects = ['the cat sat', 'a dog slept'];
export const labels = [0, 1];
export const files = () => filesOfPage();
