import type {AttackKind} from '../kind';
import {adaptedModel} from './adaptedModel';
import {adapterJson} from './adapterJson';
import {adapterSafetensors} from './adapterSafetensors';
import {keyMap} from './keyMap';
import {peft} from './peft';
import {transformer} from './transformer';

/** A row for each kind of file that may come from a stranger. */
export const KINDS: readonly AttackKind[] = [adapterJson, adapterSafetensors, peft, adaptedModel, keyMap, transformer];
