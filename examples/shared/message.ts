import {byId} from '../../../shared/dom';

const box = byId('message');
const text = byId('message-text');
byId('dismiss').addEventListener('click', hideMessage);

/** Tells the visitor what happened. Line breaks are kept. */
export function showMessage(message: string, kind: 'news' | 'fault' = 'news'): void {
  box.hidden = false;
  box.classList.toggle('fault', kind === 'fault');
  box.setAttribute('role', kind === 'fault' ? 'alert' : 'status');
  text.textContent = message;
}

export function hideMessage(): void {
  box.hidden = true;
}
