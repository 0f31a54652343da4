import type {Write} from './call';

export const TRANSFORMER_LAYERS: Readonly<Record<string, Write>> = {};
