-- What each label means, from the task in synalign.toml.
-- needs:
select label, label_name from raw_label_names
