import type {Sound} from 'tfjs-lora/sound';
import {make} from '../../shared/dom';
import {play, waveOf} from './sounds';

/** A class as the page shows it. */
export interface Card {
  name: string;
  clips: readonly Sound[];
  /** Whether a clip is held out, and so is shown otherwise. */
  isHeldOut: (clip: Sound, i: number) => boolean;
  record: () => void;
  addFiles: (files: File[]) => void;
  removeClip: (i: number) => void;
  /** Of the background there is none. */
  remove?: () => void;
}

/** Shows a class: its clips, to play and to remove, and ways to add others. */
export function cardOf({name, clips, isHeldOut, record, addFiles, removeClip, remove}: Card): HTMLElement {
  const button = (textContent: string, ariaLabel: string, onclick: () => void, className = '') =>
    make('button', {type: 'button', textContent, ariaLabel, title: ariaLabel, onclick, className});
  const files = make('input', {
    ...{type: 'file', accept: 'audio/*', multiple: true, ariaLabel: `Files for ${name}`},
    onchange: () => addFiles([...(files.files ?? [])]),
  });
  const card = make(
    'section',
    {className: 'class'},
    make(
      'header',
      {},
      make('h3', {}, `${name} (${clips.length})`),
      button('Record', `Record ${name}`, record),
      ...(remove ? [button('Remove', `Remove ${name}`, remove, 'quiet')] : []),
    ),
    files,
    make(
      'div',
      {className: 'clips'},
      ...clips.map((clip, i) => {
        const held = isHeldOut(clip, i);
        const which = `clip ${i + 1} of ${name}${held ? ', which is held out' : ''}`;
        const player = button('', `Play ${which}`, () => void play(clip));
        player.append(waveOf(clip));
        const className = held ? 'clip held' : 'clip';
        return make(
          'div',
          {className},
          player,
          button('×', `Remove ${which}`, () => removeClip(i), 'quiet'),
        );
      }),
    ),
  );
  card.addEventListener('dragover', event => event.preventDefault());
  card.addEventListener('drop', event => {
    event.preventDefault();
    if (!files.disabled) {
      addFiles([...(event.dataTransfer?.files ?? [])]);
    }
  });
  return card;
}
