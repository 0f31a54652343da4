import {byId} from './dom';

const box = byId('message');
const text = byId('message-text');
const offer = byId<HTMLButtonElement>('message-offer');
byId('dismiss').addEventListener('click', hideMessage);

/** Something that a message offers to do. */
interface Offer {
  text: string;
  act: () => unknown;
}

/** Tells the visitor what happened. Line breaks are kept. */
export function showMessage(message: string, kind: 'news' | 'fault' = 'news', offered?: Offer): void {
  box.hidden = false;
  box.classList.toggle('fault', kind === 'fault');
  box.setAttribute('role', kind === 'fault' ? 'alert' : 'status');
  text.textContent = message;
  offer.hidden = offered === undefined;
  offer.textContent = offered?.text ?? '';
  offer.onclick = () => {
    hideMessage();
    offered?.act();
  };
}

export function hideMessage(): void {
  box.hidden = true;
}
