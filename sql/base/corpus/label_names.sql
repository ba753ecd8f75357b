-- What each label means, from `task.labels` in `synalign.toml`.
-- key: label
-- label: the label as it stands in the records
-- label_name: what the label means, in words
-- needs:
select label, label_name from raw_label_names
