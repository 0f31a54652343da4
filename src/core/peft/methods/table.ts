import type {PEFTForm} from './form';
import {ia3} from './ia3';
import {loha} from './loha';
import {lokr} from './lokr';
import {lora} from './lora';
import {trainableTokens} from './trainableTokens';
import {vera} from './vera';

/** A row for each type of adapter of PEFT that is carried. */
const FORMS: readonly PEFTForm[] = [lora, ia3, vera, loha, lokr, trainableTokens];

/** The names of the types that are carried. */
export function formTypes(): string[] {
  return FORMS.map(({type}) => type);
}

/** The type of a name, as a config gives it; `undefined` if it is not carried. */
export function formOfType(type: unknown): PEFTForm | undefined {
  return FORMS.find(form => form.type === type);
}

/** How PEFT stores updates by a method of ours; `undefined` if it has none. */
export function formOf(method: string): PEFTForm | undefined {
  return FORMS.find(({methods}) => methods.includes(method));
}
