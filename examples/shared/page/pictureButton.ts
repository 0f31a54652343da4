import {make} from '../dom';
import {isBusy} from './work';

/** A small copy of an image, to press. */
export function pictureButton(picture: HTMLCanvasElement, label: string, act: () => unknown): HTMLButtonElement {
  const [width, height] = [96, 96];
  const small = make('canvas', {width, height});
  small.getContext('2d')!.drawImage(picture, 0, 0, width, height);
  const properties = {type: 'button' as const, title: label, ariaLabel: label, disabled: isBusy()};
  return make('button', {...properties, onclick: () => void act()}, small);
}
