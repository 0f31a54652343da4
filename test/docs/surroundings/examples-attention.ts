import {buildWriter} from '../../../examples/attention/model';

export const base = buildWriter();
